"""What a slot remembers of earlier prompts saves time and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from engine.pipeline import Engine
from engine.slots import shared

TEXTS = (
    "The heart is normal. No pneumothorax.",
    "Large right pleural effusion with atelectasis of the right lower lobe.",
)


@pytest.fixture
def engine() -> Engine:
    """Return an engine whose numbers depend on how many tokens are read at a time."""
    return Engine.load(backend="onnx_cpu", num_threads=2)


@pytest.mark.slow
def test_a_drawing_is_the_same_whatever_was_asked_before(engine: Engine) -> None:
    first, second = (engine.draw(text, seed=7).codes for text in TEXTS)
    film = np.random.default_rng(0).uniform(-1, 1, (1, 256, 256)).astype(np.float32)
    answer = engine.ask(film, "Is the heart large?").text
    assert (engine.draw(TEXTS[1], seed=7).codes, engine.draw(TEXTS[0], seed=7).codes) == (
        second,
        first,
    )
    engine.ask(film, "Is there a pneumothorax?")
    assert engine.ask(film, "Is the heart large?").text == answer


def test_sequences_share_their_beginning() -> None:
    assert shared([1, 2, 3], [1, 2, 4]) == 2
    assert shared([1, 2], [1, 2, 4]) == 2
    assert shared([], [1]) == 0
