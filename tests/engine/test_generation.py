"""Constrained decoding holds for any weights, temperature and seed: the model is random here."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends.base import Feed
from engine.errors import GenerationFault
from engine.generation import alone, draw_codes, guided, write_text
from engine.sampling import Sampling, nucleus
from tests.engine.random_model import VOCABULARY, RandomModel, RandomSlot


class BrokenModel(RandomModel):
    """A model whose numbers overflow after the prompt."""

    def _append(self, feed: Feed) -> np.ndarray:
        rows = super()._append(feed)
        return np.full_like(rows, np.nan) if len(feed.token_ids) == 1 else rows


def text(model, prompt, **wanted) -> list[int]:
    return alone(model, write_text(model.open_slot(), prompt, VOCABULARY, **wanted))


def image(model, prompts, **wanted) -> list[int]:
    slots = [(model.open_slot(), prompt) for prompt in prompts]
    return alone(model, draw_codes(slots, VOCABULARY, **wanted))


seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.0, 1e4)
samplings = st.builds(Sampling, st.floats(0.0, 50.0), st.floats(0.01, 1.0))


@given(seeds, scales, samplings, seeds, st.floats(0.0, 5.0))
@settings(max_examples=60, deadline=None)
def test_an_image_answer_is_exactly_256_codes(weights, scale, sampling, seed, guidance):
    model = RandomModel(weights, scale)
    prompts = [[5, 1], [1]]
    codes = image(model, prompts, sampling=sampling, seed=seed, guidance=guidance)
    assert len(codes) == 256
    assert all(0 <= code < 1024 for code in codes)


@given(seeds, scales, samplings, seeds, st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_a_text_answer_holds_no_image_token(weights, scale, sampling, seed, limit):
    model = RandomModel(weights, scale)
    ids = text(model, [5, 6], max_new_tokens=limit, sampling=sampling, seed=seed)
    assert len(ids) <= limit
    assert all(token < VOCABULARY.num_text and token != VOCABULARY.end_id for token in ids)


def test_the_same_seed_draws_the_same_image_and_another_seed_another():
    def draw(seed: int) -> list[int]:
        sampling = Sampling(1.0, 0.95)
        return image(RandomModel(0, 1.0), [[5, 1]], sampling=sampling, seed=seed)

    assert draw(4) == draw(4) != draw(5)


def test_numbers_that_are_none_are_a_fault_and_not_a_token():
    with pytest.raises(GenerationFault):
        text(BrokenModel(0, 1.0), [5, 6], max_new_tokens=9)
    with pytest.raises(GenerationFault):
        image(BrokenModel(0, 1.0), [[5, 6]], sampling=Sampling(1.0), seed=1)


guesses = st.lists(st.integers(0, VOCABULARY.num_text - 1), max_size=6)


@given(seeds, samplings, seeds, st.integers(1, 40), guesses, st.booleans())
@settings(max_examples=100, deadline=None)
def test_guesses_never_change_the_text(weights, sampling, seed, limit, wrong, is_right):
    model = RandomModel(weights, 3.0)
    wanted = {"max_new_tokens": limit, "sampling": sampling, "seed": seed}
    plain = text(model, [5, 6], **wanted)
    num_plain, model.num_steps = model.num_steps, 0

    def guess(written: Sequence[int]) -> Sequence[int]:
        return plain[len(written) : len(written) + 5] if is_right else wrong

    assert text(model, [5, 6], guess=guess, **wanted) == plain
    assert model.num_steps <= num_plain
    if is_right and len(plain) > 6:
        assert model.num_steps < num_plain


def test_a_slot_that_is_almost_full_is_guessed_for_no_further_than_it_can_take():
    model = RandomModel(0, 3.0)
    model.open_slot = lambda: RandomSlot(room=9)
    plain = text(model, [5, 6], max_new_tokens=8)
    assert text(model, [5, 6], max_new_tokens=8, guess=lambda _: [1] * 9) == plain


def test_a_long_prompt_is_read_in_pieces_and_what_a_slot_holds_is_not_read_again():
    model = RandomModel(0, 1.0)
    prompt = list(range(3, 303))
    slot = model.open_slot()
    whole = alone(model, write_text(slot, prompt, VOCABULARY, max_new_tokens=3))
    assert model.num_steps == 3 + len(whole) - 1
    slot.rewind(299)
    model.num_steps = 0
    assert alone(model, write_text(slot, prompt, VOCABULARY, max_new_tokens=3)) == whole
    assert model.num_steps == len(whole)


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
