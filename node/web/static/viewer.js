// Window, level, zoom and inversion of the film, on a canvas in place of the image.
// Without this script the page shows the film as it came.
"use strict";

(() => {
  const film = document.getElementById("film");
  const controls = document.getElementById("controls");
  if (!film || !controls) return;
  const inputs = Object.fromEntries(
    ["window", "level", "zoom", "invert", "reset"].map((id) => [id, document.getElementById(id)]),
  );
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let grey = null; // one byte a pixel, as the film came

  // PS3.3 C.11.2.1.2.1, the linear function, on 8 bits
  const table = (width, level, inverted) =>
    Uint32Array.from({ length: 256 }, (_, value) => {
      const linear = Math.round(((value - (level - 0.5)) / (width - 1) + 0.5) * 255);
      const shown = Math.min(Math.max(linear, 0), 255);
      // opaque grey, alpha in the last byte
      return 0xff000000 + 0x010101 * (inverted ? 255 - shown : shown);
    });

  const draw = () => {
    if (!grey) return;
    const width = Number(inputs.window.value);
    const shown = table(width, Number(inputs.level.value), inputs.invert.checked);
    const picture = pen.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let at = 0; at < grey.length; at += 1) pixels[at] = shown[grey[at]];
    pen.putImageData(picture, 0, 0);
    canvas.style.width = `${inputs.zoom.value}%`;
  };

  const begin = () => {
    canvas.width = film.naturalWidth;
    canvas.height = film.naturalHeight;
    canvas.id = "canvas";
    pen.drawImage(film, 0, 0);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    grey = Uint8Array.from({ length: pixels.length / 4 }, (_, at) => pixels[4 * at]);
    film.replaceWith(canvas);
    controls.hidden = false;
    draw();
  };

  const shift = (input, by) => {
    input.value = String(Number(input.value) + by);
  };

  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons !== 1) return;
    canvas.setPointerCapture(event.pointerId);
    shift(inputs.window, event.movementX);
    shift(inputs.level, event.movementY);
    draw();
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    shift(inputs.zoom, event.deltaY < 0 ? 25 : -25);
    draw();
  }, { passive: false });
  for (const name of ["window", "level", "zoom", "invert"]) {
    inputs[name].addEventListener("input", draw);
  }
  inputs.reset.addEventListener("click", () => {
    for (const name of ["window", "level", "zoom"]) inputs[name].value = inputs[name].defaultValue;
    inputs.invert.checked = false;
    draw();
  });

  if (film.complete && film.naturalWidth) begin();
  else film.addEventListener("load", begin);
})();
