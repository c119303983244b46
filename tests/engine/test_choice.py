"""The likeliest of several texts: weighed as the model would have written them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.choice import weigh
from engine.errors import GenerationFault
from engine.generation import alone, write_text
from engine.sampling import Sampling
from tests.engine.random_model import VOCABULARY, RandomModel

PROMPT = [5, 6]
AS_TRAINED = Sampling(temperature=1.0)
texts = st.lists(st.integers(0, VOCABULARY.num_text - 1), min_size=1, max_size=6)


def weighed(model, options, prompt=PROMPT):
    return alone(model, weigh(model.open_slot(), prompt, options, VOCABULARY))


def written(model, **wanted):
    return alone(model, write_text(model.open_slot(), PROMPT, VOCABULARY, **wanted))


def test_a_text_weighs_as_often_as_it_is_written():
    model, rounds = RandomModel(3, 2.0), 1500
    model.table[:, VOCABULARY.end_id] += 4  # texts end soon, so that each is written often
    drawn = (
        tuple(written(model, max_new_tokens=3, sampling=AS_TRAINED, seed=s)) for s in range(rounds)
    )
    ended = {text: n for text, n in Counter(drawn).items() if 0 < len(text) < 3 and n > 5}
    assert len(ended) > 3
    chances = np.exp(weighed(model, [list(text) for text in ended]))
    shares = np.array(list(ended.values())) / rounds
    assert np.abs(chances - shares).max() < 5 * np.sqrt(0.25 / rounds)


@given(st.integers(0, 2**32 - 1), st.lists(texts, min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_text_weighs_the_same_whatever_stands_beside_it(weights, options):
    model = RandomModel(weights, 2.0)
    together = weighed(model, options)
    assert together == pytest.approx([weighed(model, [option])[0] for option in options])
    assert (together < 0).all()


def test_what_is_no_number_chooses_nothing():
    model = RandomModel(0, 1.0)
    model.table[:] = np.nan
    with pytest.raises(GenerationFault):
        weighed(model, [[7], [8]])


def test_the_slot_is_left_at_the_end_of_its_prompt():
    model = RandomModel(0, 1.0)
    slot, prompt = model.open_slot(), [*range(4, 36)] * 9
    alone(model, weigh(slot, prompt, [[7, 8, 9], [8]], VOCABULARY))
    assert slot.ids == prompt
