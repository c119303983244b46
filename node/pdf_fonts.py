"""The fonts of rendered pages, and what they cannot draw.

DejaVu Sans comes with the node: Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic.
WenQuanYi Micro Hei comes with the extra `cjk`: the Chinese, Japanese and Korean letters. What
neither has is said on the page and never left to a question mark.
"""

from __future__ import annotations

import functools
import unicodedata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fontTools.ttLib import TTFont

TEXT: Final = "text"
EAST_ASIAN: Final = "east-asian"
PLACEHOLDER: Final = "\u25a1"
_CJK_PACKAGE: Final = "paperang_p2_fonts_cjk"
_WITHOUT_GLYPH: Final = ("Cf", "Zs")
"""Joiners and spaces: shaping takes care of them."""


@functools.cache
def font_files() -> dict[str, Path]:
    """Return the font files by the names that pages call them; the package is not imported."""
    spec = find_spec(_CJK_PACKAGE)
    found = {TEXT: Path(__file__).parent / "fonts" / "DejaVuSans.ttf"}
    if spec is not None and spec.submodule_search_locations:
        folder = spec.submodule_search_locations[0]
        found[EAST_ASIAN] = Path(folder, "fonts", "wqy-microhei.ttc")
    return found


@functools.cache
def _drawable() -> frozenset[int]:
    """Return the code points that some font has a glyph for."""
    found: set[int] = set()
    for path in font_files().values():
        with TTFont(path, fontNumber=0, lazy=True) as font:
            found.update(font.getBestCmap())
    return frozenset(found)


def drawable(text: str) -> tuple[str, tuple[str, ...]]:
    """Return text with a box for each letter that no font has, and those letters, each once."""
    lacking = tuple(dict.fromkeys(letter for letter in text if not _can_draw(letter)))
    return "".join(PLACEHOLDER if letter in lacking else letter for letter in text), lacking


def _can_draw(letter: str) -> bool:
    is_drawn = ord(letter) in _drawable()
    return is_drawn or letter == "\n" or unicodedata.category(letter) in _WITHOUT_GLYPH
