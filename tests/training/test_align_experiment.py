"""Aligned bundles beside their start: who is chosen, what ships, and what alignment cost."""

import shutil

import numpy as np
import pytest

from tests.training.test_align import GOOD, alignment, preferences, run  # noqa: F401
from training import cli
from training.align import experiment
from training.align.experiment import CHOOSING, GAIN, START, VERBOSITY, Experiment, figures_of
from training.evaluate.bootstrap import Figure
from training.evaluate.report_metrics import Pair, label_rows

CLEAR = "The lungs are clear. No acute disease."
LEFT = "There is a small left pleural effusion."


def figures(chosen=0.5, gain=0.0, low=0.0, verbosity=1.0):
    return {
        CHOOSING: Figure(chosen, 0, 1, 9),
        GAIN: Figure(gain, low, 1, 9),
        VERBOSITY: Figure(verbosity, 0, 2, 9),
    }


@pytest.mark.parametrize(
    ("better", "ships"),
    [
        ({"chosen": 0.6, "gain": 0.1, "low": 0.01}, True),
        ({"chosen": 0.6, "gain": 0.1, "low": -0.01}, False),
        ({"chosen": 0.6, "gain": 0.1, "low": 0.01, "verbosity": 1.2}, False),
        ({"chosen": 0.4, "gain": 0.1, "low": 0.01}, False),
    ],
)
def test_what_ships_is_chosen_better_beyond_chance_and_not_longer(better, ships):
    found = Experiment({START: figures(), "dpo": figures(**better)})
    assert found.ships == ships


def test_the_gain_over_the_start_is_paired():
    """Two systems that err on the same films differ by nothing, however few the films are."""
    wanted = [LEFT, CLEAR] * 10
    start = [Pair(f"p{n}", CLEAR, text) for n, text in enumerate(wanted)]
    better = [Pair(f"p{n}", text, text) for n, text in enumerate(wanted)]
    half = np.arange(len(start)) % 3 == 0
    same = figures_of(start, start, label_rows(start), half)[GAIN]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert figures_of(better, start, label_rows(start), half)[GAIN].low > 0


def test_verbosity_is_the_words_of_all_reports_over_those_of_the_start():
    start = [Pair("p1", "One two.", CLEAR), Pair("p2", "One two three.", CLEAR)]
    longer = [Pair("p1", "One two. " * 3, CLEAR), Pair("p2", "One two three four.", CLEAR)]
    found = figures_of(longer, start, label_rows(start), np.asarray([True, False]))
    assert found[VERBOSITY].value == pytest.approx(10 / 5)


def test_bundles_are_compared_and_taxed_from_the_command_line(
    run,  # noqa: F811
    preferences,  # noqa: F811
    bundle_dir,
    tmp_path,
    capsys,
    monkeypatch,
):
    alignment(run, preferences, "dpo", watch=0).learn()
    made = tmp_path / "dpo"
    shutil.copytree(bundle_dir, made)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(run.recipe.model_dump_json())
    common = ["--recipe", str(recipe), "--run", str(run.run_dir)]
    bundles = ["--bundle", str(bundle_dir), "--bundles", str(made)]
    assert cli.main(["evaluate", "alignment", *common, *bundles]) == 0
    told = capsys.readouterr().out
    assert "| **start** |" in told
    assert "does not ship" in told
    output = run.run_dir / "evaluate" / "alignment"
    assert {"metrics.json", "table.md", "alignment.png"} <= {p.name for p in output.iterdir()}
    monkeypatch.setattr(experiment, "drafts", None)
    assert cli.main(["evaluate", "alignment", *common, *bundles]) == 0, "nothing is drafted twice"
    assert cli.main(["evaluate", "tax", *common, *bundles, "--drawings", "2", "--limit", "2"]) == 0
    assert "text: nats a character" in capsys.readouterr().out
