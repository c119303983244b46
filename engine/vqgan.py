"""Films to codes and back, with the checks that keep a broken tokenizer from being believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.backends.base import Backend
from engine.errors import GenerationFault
from engine.results import Image
from engine.vocabulary import CODES_PER_IMAGE, NUM_CODES


def codes_of_film(backend: Backend, image: Image) -> list[int]:
    """Return the 256 codes of a film.

    Raises
    ------
    GenerationFault
        The encoder returned another number of codes, or one outside the codebook.
    """
    codes = backend.encode(image)
    inside = (codes >= 0).all() and (codes < NUM_CODES).all()
    if codes.shape != (CODES_PER_IMAGE,) or not inside:
        raise GenerationFault("the image encoder returned codes outside the codebook")
    return [int(code) for code in codes]


def film_from_codes(backend: Backend, codes: Sequence[int]) -> Image:
    """Return the film of 256 codes, within [-1, 1].

    Raises
    ------
    GenerationFault
        The decoder returned values that are not numbers.
    """
    image = backend.decode(np.asarray(codes, dtype=np.int64))
    if not np.isfinite(image).all():
        raise GenerationFault("the image decoder produced values that are not numbers")
    return np.clip(image, -1.0, 1.0)
