"""The words burned into every synthetic film, twice: on its edge and inside the anatomy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from engine.results import Image

Grey = NDArray[np.uint8]

BANNER = "SYNTHETIC - AI GENERATED"
INSIDE = ("SYNTHETIC", "NOT A PATIENT")
MIN_SIZE = 256
"""Smallest side on which the words can be read."""

_LANCZOS = PilImage.Resampling.LANCZOS
_MIN_AGREEMENT = 0.995


def burn(film: Grey, size: int = 512) -> Grey:
    """Return the film at `size` x `size` with the banner burned in twice.

    The line at the top is opaque; the words across the lungs are outlined, so that cutting off the
    edge leaves a film that still says what it is.
    """
    side = max(size, MIN_SIZE)
    marked = PilImage.fromarray(film).convert("L").resize((side, side), _LANCZOS)
    _draw(marked)
    return np.asarray(marked, dtype=np.uint8)


def burn_16(image: Image, size: int = 512) -> NDArray[np.uint16]:
    """Return an image in [-1, 1] at `size` x `size` in 16 bit with the same banner burned in."""
    side = max(size, MIN_SIZE)
    unit = (np.squeeze(image, 0) + 1.0) / 2.0
    smooth = PilImage.fromarray(unit.astype(np.float32)).resize((side, side), _LANCZOS)
    film: NDArray[np.uint16] = np.rint(np.asarray(smooth).clip(0, 1) * 65535).astype(np.uint16)
    words, masks = _template(side)
    drawn = masks[0] | masks[1]
    film[drawn] = words[drawn].astype(np.uint16) * 257
    return film


def is_burned(film: Grey) -> bool:
    """Return whether a film carries both banners, each pixel of them."""
    if film.ndim != 2 or film.shape[0] != film.shape[1] or film.shape[0] < MIN_SIZE:
        return False
    words, masks = _template(film.shape[0])
    return all((film[mask] == words[mask]).mean() >= _MIN_AGREEMENT for mask in masks)


@lru_cache(maxsize=4)
def _template(side: int) -> tuple[Grey, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return the banner and where it lies: pixels that do not depend on the film below."""
    black, white = (burn(np.full((side, side), grey, np.uint8), side) for grey in (0, 255))
    drawn = black == white
    edge = np.zeros_like(drawn)
    edge[: _edge_height(side)] = True
    return black, (drawn & edge, drawn & ~edge)


def _edge_height(side: int) -> int:
    return side // 14


def _draw(film: PilImage.Image) -> None:
    """Draw the opaque line at the top and the outlined words in the middle."""
    side = film.width
    pen = ImageDraw.Draw(film)
    height = _edge_height(side)
    pen.rectangle((0, 0, side, height - 1), fill=0)
    pen.text((side / 2, height / 2), BANNER, fill=255, anchor="mm", font=_font(side // 20))
    font = _font(side // 12)
    for line, text in enumerate(INSIDE):
        at = (side / 2, side * (0.48 + 0.1 * line))
        pen.text(at, text, 255, font, "mm", stroke_width=max(1, side // 256), stroke_fill=0)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, so that every machine draws the same words."""
    return ImageFont.load_default(size)
