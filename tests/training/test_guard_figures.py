"""What is said of a guard: right verdicts, counted state by state."""

import json

import numpy as np
import pytest

from engine.pipeline import Engine
from training.evaluate import guard_figures
from training.evaluate.guard_figures import CASES, evaluate_guard, inspected, inverted, turned


@pytest.fixture(scope="module")
def found(trained, bundle_dir):
    return evaluate_guard(trained, bundle_dir, limit=2)


def test_figures_are_the_shares_of_right_verdicts(trained, bundle_dir, found):
    engine = Engine.load(bundle_dir)
    for name, (view, change, right) in CASES.items():
        rows = guard_figures.of_view(trained, view)[:2]
        if rows:
            verdicts = inspected(trained, engine, rows, change, name)
            assert found[name].value == np.mean([v.accepted == right for v in verdicts])
            assert found[name].count > 0
        else:
            assert name not in found


def test_figures_are_stored(trained, found):
    stored = json.loads((trained.run_dir / "evaluate" / "guard" / "metrics.json").read_text())
    assert {name: one["value"] for name, one in stored.items()} == pytest.approx(
        {name: figure.value for name, figure in found.items()}
    )


def test_films_are_changed_as_the_figures_say():
    rng = np.random.default_rng(0)
    film = rng.integers(0, 256, (256, 256), dtype=np.uint8)
    assert np.array_equal(inverted(inverted(film, rng), rng), film)
    turns = {turned(film, rng).tobytes() for _ in range(30)}
    assert turns == {np.rot90(film, turn).tobytes() for turn in (1, 2, 3)}
