"""A tokenizer that breaks is a fault with a reason: never a film, never a prompt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import GenerationFault
from engine.vqgan import codes_of_film, film_from_codes

FILM = np.zeros((1, 256, 256), np.float32)
CODES = np.arange(256, dtype=np.int64)


class Tokenizer:
    """Answers what it is told."""

    def __init__(self, codes=CODES, image=FILM):
        self.codes, self.image = codes, image

    def encode(self, images):
        return self.codes[None]

    def decode(self, codes):
        return self.image[None]


def test_what_is_whole_passes():
    assert codes_of_film(Tokenizer(), FILM) == list(range(256))
    assert film_from_codes(Tokenizer(image=FILM + 2), CODES).max() == 1.0


@given(st.integers(0, 255), st.one_of(st.integers(-(2**40), -1), st.integers(1024, 2**40)))
def test_a_code_outside_the_codebook_is_a_fault(place, code):
    codes = CODES.copy()
    codes[place] = code
    with pytest.raises(GenerationFault, match="outside the codebook"):
        codes_of_film(Tokenizer(codes), FILM)
    with pytest.raises(GenerationFault, match="outside the codebook"):
        film_from_codes(Tokenizer(), codes.tolist())


@pytest.mark.parametrize("length", [0, 255, 257])
def test_another_number_of_codes_is_a_fault(length):
    codes = np.zeros(length, np.int64)
    with pytest.raises(GenerationFault):
        codes_of_film(Tokenizer(codes), FILM)
    with pytest.raises(GenerationFault):
        film_from_codes(Tokenizer(), codes.tolist())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_film_of_no_numbers_is_a_fault_both_ways(value):
    film = FILM.copy()
    film[0, 7, 7] = value
    with pytest.raises(GenerationFault, match="the film holds"):
        codes_of_film(Tokenizer(), film)
    with pytest.raises(GenerationFault, match="image decoder"):
        film_from_codes(Tokenizer(image=film), CODES)
