import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import open_bundle
from export.bundle import export_bundle, stamp_metrics
from export.cli import LICENSE
from export.config import ExportSettings
from training.cli import main
from training.evaluate.bootstrap import mean_figure
from training.evaluate.conditioning import (
    agreement,
    evaluate_conditioning,
    other_patient,
    roc_auc,
)


def test_the_interval_of_a_mean_holds_it_and_shrinks_with_more_cases():
    rng = np.random.default_rng(0)
    few, many = (mean_figure(rng.normal(1.0, 1.0, size)) for size in (20, 2000))
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert many.excludes_zero


def test_roc_auc_of_known_orders():
    positive = np.array([True, True, False, False])
    assert roc_auc(np.array([4.0, 3.0, 2.0, 1.0]), positive) == 1.0
    assert roc_auc(np.array([1.0, 2.0, 3.0, 4.0]), positive) == 0.0
    assert roc_auc(np.ones(4), positive) == 0.5
    assert np.isnan(roc_auc(np.ones(2), np.array([True, True])))


def test_agreement_sees_scores_that_follow_the_labels_and_chance_when_they_do_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (400, 14)).astype(float)
    assert agreement(labels + rng.normal(0, 0.1, labels.shape), labels) > 0.99
    assert agreement(rng.normal(size=labels.shape), labels) == pytest.approx(0.5, abs=0.05)


@given(st.lists(st.integers(0, 6), min_size=8, max_size=40), st.integers(0, 99))
def test_the_wrong_film_is_always_another_patient_s(owners, seed):
    patients = [f"p{owner}" for owner in owners]
    counts = [patients.count(patient) for patient in patients]
    if max(counts) * 2 > len(patients):
        return
    rows = np.arange(len(patients))
    wrong = other_patient(rows, patients, seed)
    assert all(patients[a] != patients[b] for a, b in zip(rows, wrong, strict=True))


def test_conditioning_writes_predictions_then_figures(trained, tmp_path):
    settings = ExportSettings(trained.run_dir, tmp_path / "bundle", LICENSE, max_length=900)
    bundle = export_bundle(settings, np.asarray(trained.images), trained.frontal("train"))
    figures = evaluate_conditioning(trained, bundle, limit=0, num_drawings=2)
    output = trained.run_dir / "evaluate" / "conditioning"
    assert {path.name for path in output.iterdir()} == {
        "losses.parquet", "drawings.parquet", "metrics.json",
    }  # fmt: skip
    stored = json.loads((output / "metrics.json").read_text())
    name = "report loss, own minus other"
    assert stored[name]["value"] == pytest.approx(figures[name].value)
    assert figures[name].count == len(trained.reported("val"))
    stamped = stamp_metrics(trained.run_dir, bundle)
    assert open_bundle(bundle).manifest["metrics"] == stamped
    assert stamped["conditioning"][name] == stored[name]


def test_the_command_line_builds_a_catalog_and_names_a_bad_recipe(films_dir, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["catalog", "--run", run, "--films", str(films_dir)]) == 0
    assert (tmp_path / "run" / "images.npy").is_file()
    assert main(["catalog", "--run", run, "--recipe", "nosuch"]) == 2
    assert "shipped recipes: demo, paper" in capsys.readouterr().err
    assert main(["catalog", "--run", run, "--set", "sft.stepz=3"]) == 2
    assert "sft.stepz" in capsys.readouterr().err


def test_a_stage_without_its_input_says_which_command_comes_first(films_dir, tmp_path, capsys):
    assert main(["tokenizer", "--run", str(tmp_path)]) == 2
    assert "cxr-train classifier" in capsys.readouterr().err
