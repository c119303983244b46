"""Films to codes and back, with the checks that keep a broken tokenizer from being believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.backends.base import Backend
from engine.errors import GenerationFault
from engine.results import Codes, Image
from engine.vocabulary import CODES_PER_IMAGE, NUM_CODES


def codes_of_film(backend: Backend, image: Image) -> list[int]:
    """Return the 256 codes of a film.

    Raises
    ------
    GenerationFault
        The film holds values that are not numbers, or the encoder returned another number of
        codes, or one outside the codebook.
    """
    if not np.isfinite(image).all():
        raise GenerationFault("the film holds values that are not numbers")
    codes = backend.encode(image)
    if not _are_codes(codes):
        raise GenerationFault("the image encoder returned codes outside the codebook")
    return [int(code) for code in codes]


def film_from_codes(backend: Backend, codes: Sequence[int]) -> Image:
    """Return the film of 256 codes, within [-1, 1].

    Raises
    ------
    GenerationFault
        There are not 256 codes of the codebook, or the decoder returned values that are not
        numbers.
    """
    listed = np.asarray(codes, dtype=np.int64)
    if not _are_codes(listed):
        raise GenerationFault("the codes of the drawing lie outside the codebook")
    image = backend.decode(listed)
    if not np.isfinite(image).all():
        raise GenerationFault("the image decoder produced values that are not numbers")
    return np.clip(image, -1.0, 1.0)


def _are_codes(codes: Codes) -> bool:
    """Tell whether these are the codes of one image: 256, each 0 … 1023."""
    inside = (codes >= 0).all() and (codes < NUM_CODES).all()
    return codes.shape == (CODES_PER_IMAGE,) and bool(inside)
