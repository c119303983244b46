"""PNG files that say in a text chunk what they show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL.PngImagePlugin import PngInfo

from engine.errors import CxrError

SYNTHETIC_NOTE = {"Synthetic": "yes"}
"""The text chunk of every film that shows no patient."""


class CannotWrite(CxrError):
    """The file cannot be written."""

    default_hint = "is the folder there, and may you write to it"


def save_png(path: Path, grey: NDArray[np.uint8], notes: Mapping[str, str] | None = None) -> None:
    """Write 8-bit grey values with notes as tEXt chunks (PNG, ISO/IEC 15948 11.3.4).

    Raises
    ------
    CannotWrite
        The path cannot be written.
    """
    chunks = PngInfo()
    for key, text in (notes or {}).items():
        chunks.add_itxt(key, text)
    try:
        PilImage.fromarray(grey).save(path, format="PNG", pnginfo=chunks)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or 'not writable'}") from error
