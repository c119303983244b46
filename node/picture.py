"""The film and its draft in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from node.sr_text import Line

_SIDE, _MARGIN, _WIDTH = 640, 24, 640
_RED, _INK, _PALE = (176, 0, 32), (17, 17, 17), (102, 102, 102)

_Text = tuple[str, int, tuple[int, int, int]]


def draft_beside_film(
    film: NDArray[np.uint8], status: str, title: str, lines: Sequence[Line], footer: str
) -> PilImage.Image:
    """Return the film (square, 8 bit) with the report beside it."""
    page = PilImage.new("RGB", (_SIDE + _WIDTH, _SIDE), "white")
    page.paste(PilImage.fromarray(film).resize((_SIDE, _SIDE), PilImage.Resampling.LANCZOS), (0, 0))
    pen = ImageDraw.Draw(page)
    pen.rectangle((_SIDE, 0, _SIDE + _WIDTH, 44), fill=_RED)
    pen.text((_SIDE + _MARGIN, 22), status, "white", ImageFont.load_default(18), anchor="lm")
    _write(pen, [(title, 22, _INK), *_body(lines)])
    place = (_SIDE + _MARGIN, _SIDE - _MARGIN)
    pen.text(place, footer, _PALE, ImageFont.load_default(12), anchor="ls")
    return page


def _body(lines: Sequence[Line]) -> Iterator[_Text]:
    """Yield the sections and their sentences; the context of the observation stays out."""
    for line in lines:
        if line.value_type == "CONTAINER":
            yield "", 8, _INK
            yield line.name.upper(), 16, _PALE
        elif line.depth:
            yield line.value, 16, _INK


def _write(pen: ImageDraw.ImageDraw, texts: Sequence[_Text]) -> None:
    """Write texts below each other, wrapped; what does not fit is cut off with dots."""
    top = 64.0
    for text, size, colour in texts:
        font = ImageFont.load_default(size)
        for row in _wrapped(text, font) or [""]:
            if top > _SIDE - 3 * _MARGIN:
                pen.text((_SIDE + _MARGIN, top), "…", colour, font)
                return
            pen.text((_SIDE + _MARGIN, top), row, colour, font)
            top += size * 1.45


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Break a text into rows that fit the column."""
    rows: list[str] = []
    for word in text.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and font.getlength(longer) <= _WIDTH - 2 * _MARGIN:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows
