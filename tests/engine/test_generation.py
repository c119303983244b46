"""Constrained decoding holds for any weights, temperature and seed: the model is random here."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import GenerationFault
from engine.generation import generate_codes, generate_text, guided
from engine.sampling import Sampling, nucleus
from engine.vocabulary import Vocabulary

VOCABULARY = Vocabulary(num_text=40, end_id=3, image_open_id=1, image_close_id=2)


class RandomSlot:
    """A language model with random weights: a fixed random row of logits for every token."""

    def __init__(self, seed: int, scale: float) -> None:
        rng = np.random.default_rng(seed)
        self.table = (rng.normal(size=(97, VOCABULARY.size)) * scale).astype(np.float32)
        self.length = 0

    def prefill(self, token_ids: Sequence[int]) -> np.ndarray:
        self.length += len(token_ids)
        return self.table[sum(token_ids) % 97]

    def step(self, token_id: int) -> np.ndarray:
        return self.prefill([token_id])

    def rewind(self, length: int) -> None:
        self.length = length


class BrokenSlot(RandomSlot):
    """A model whose numbers overflow."""

    def step(self, token_id: int) -> np.ndarray:
        return np.full(VOCABULARY.size, np.nan, np.float32)


seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.0, 1e4)
samplings = st.builds(Sampling, st.floats(0.0, 50.0), st.floats(0.01, 1.0))


@given(seeds, scales, samplings, seeds, st.floats(0.0, 5.0))
@settings(max_examples=60, deadline=None)
def test_an_image_answer_is_exactly_256_codes(weights, scale, sampling, seed, guidance):
    codes = generate_codes(
        RandomSlot(weights, scale),
        [5, 1],
        VOCABULARY,
        sampling=sampling,
        seed=seed,
        unprompted=(RandomSlot(weights + 1, scale), [1]),
        guidance=guidance,
    )
    assert len(codes) == 256
    assert all(0 <= code < 1024 for code in codes)


@given(seeds, scales, samplings, seeds, st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_a_text_answer_holds_no_image_token(weights, scale, sampling, seed, limit):
    ids = generate_text(
        RandomSlot(weights, scale),
        [5, 6],
        VOCABULARY,
        max_new_tokens=limit,
        sampling=sampling,
        seed=seed,
    )
    assert len(ids) <= limit
    assert all(token < VOCABULARY.num_text and token != VOCABULARY.end_id for token in ids)


def test_the_same_seed_draws_the_same_image_and_another_seed_another():
    def draw(seed: int) -> list[int]:
        sampling = Sampling(1.0, 0.95)
        return generate_codes(RandomSlot(0, 1.0), [5, 1], VOCABULARY, sampling=sampling, seed=seed)

    assert draw(4) == draw(4) != draw(5)


def test_numbers_that_are_none_are_a_fault_and_not_a_token():
    with pytest.raises(GenerationFault):
        generate_text(BrokenSlot(0, 1.0), [5], VOCABULARY, max_new_tokens=9)
    with pytest.raises(GenerationFault):
        generate_codes(BrokenSlot(0, 1.0), [5], VOCABULARY, sampling=Sampling(1.0), seed=1)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_the_nucleus_keeps_the_likeliest_and_sums_to_one(weights, top_p):
    given_weights = np.asarray(weights) / sum(weights)
    kept = nucleus(given_weights, top_p)
    assert kept.sum() == pytest.approx(1.0)
    assert kept[np.argmax(given_weights)] > 0
    assert given_weights[kept > 0].min() >= given_weights[kept == 0].max(initial=0.0)


def test_guidance_that_overflows_is_a_fault():
    high, low = np.full(4, 3e38, np.float32), np.full(4, -3e38, np.float32)
    with pytest.raises(GenerationFault):
        guided([high, low], 2.0)
