import numpy as np
import pytest

from engine.errors import GenerationFault
from engine.guard import Thresholds, inspect

FILM = np.tile(np.linspace(-1, 1, 256, dtype=np.float32), (1, 256, 1))
GOOD = {
    "view": np.array([0.9, 0.05, 0.05], np.float32),
    "turn": np.array([0.97, 0.01, 0.01, 0.01], np.float32),
    "inverted": np.array(0.01, np.float32),
    "novelty": np.array(8.0, np.float32),
}
LIMITS = Thresholds(max_novelty=20.0)


def test_a_good_film_is_accepted_without_reasons():
    verdict = inspect(FILM, GOOD, LIMITS)
    assert verdict.accepted
    assert verdict.reasons == ()
    assert verdict.view == "frontal"


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"view": np.array([0.1, 0.8, 0.1])}, "lateral"),
        ({"view": np.array([0.1, 0.1, 0.8])}, "not a chest"),
        ({"view": np.array([0.45, 0.3, 0.25])}, "uncertain"),
        ({"turn": np.array([0.1, 0.1, 0.8, 0.0])}, "180"),
        ({"inverted": np.array(0.9)}, "inverted"),
        ({"novelty": np.array(50.0)}, "not a chest"),
    ],
)
def test_each_fault_gives_its_reason(answer, word):
    verdict = inspect(FILM, {**GOOD, **answer}, LIMITS)
    assert not verdict.accepted
    assert any(word in reason for reason in verdict.reasons)


def test_a_flat_film_is_refused():
    assert "contrast" in inspect(np.zeros_like(FILM), GOOD, LIMITS).reasons[0]


def test_a_film_of_no_numbers_is_refused():
    assert not inspect(np.full_like(FILM, np.nan), GOOD, LIMITS).accepted


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_classifier_that_answers_no_numbers_is_a_fault_and_no_refusal(name, value):
    broken = np.full_like(GOOD[name], value)
    with pytest.raises(GenerationFault, match="film classifier"):
        inspect(FILM, {**GOOD, name: broken}, LIMITS)
