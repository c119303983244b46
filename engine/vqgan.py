"""Films to codes and back, with the checks that keep a broken tokenizer from being believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Backend, CodeRows, Images
from engine.errors import GenerationFault
from engine.results import Image
from engine.vocabulary import CODES_PER_IMAGE, NUM_CODES


def codes_of_films(backend: Backend, images: Images) -> CodeRows:
    """Return the codes [N, 256] of films [N, 1, 256, 256].

    Raises
    ------
    GenerationFault
        A film holds values that are not numbers, or the encoder returned another number of
        codes, or one outside the codebook.
    """
    refuse_no_numbers(images)
    codes = backend.encode(images)
    if codes.shape != (len(images), CODES_PER_IMAGE) or not _are_codes(codes):
        raise GenerationFault("the image encoder returned codes outside the codebook")
    return codes


def refuse_no_numbers(images: NDArray[np.float32]) -> None:
    """Refuse films whose values are no numbers.

    Raises
    ------
    GenerationFault
        One is.
    """
    if not np.isfinite(images).all():
        raise GenerationFault("the film holds values that are not numbers")


def codes_of_film(backend: Backend, image: Image) -> list[int]:
    """Return the 256 codes of one film; see `codes_of_films`."""
    return [int(code) for code in codes_of_films(backend, image[None])[0]]


def film_from_codes(backend: Backend, codes: Sequence[int]) -> Image:
    """Return the film of 256 codes, within [-1, 1].

    Raises
    ------
    GenerationFault
        There are not 256 codes of the codebook, or the decoder returned values that are not
        numbers.
    """
    listed = np.asarray(codes, dtype=np.int64)
    if listed.shape != (CODES_PER_IMAGE,) or not _are_codes(listed):
        raise GenerationFault("the codes of the drawing lie outside the codebook")
    image = backend.decode(listed[None])[0]
    if not np.isfinite(image).all():
        raise GenerationFault("the image decoder produced values that are not numbers")
    clipped: Image = np.clip(image, -1.0, 1.0)
    return clipped


def _are_codes(codes: NDArray[np.int64]) -> bool:
    """Tell whether all of these are codes: 0 … 1023."""
    return bool((codes >= 0).all() and (codes < NUM_CODES).all())
