"""Intervals, conditioning and the command line; images and reports have files of their own."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import open_bundle
from export.bundle import stamp_metrics
from training.cli import main
from training.evaluate.bootstrap import PatientDraws, mean_figure
from training.evaluate.conditioning import evaluate_conditioning, other_patient


def test_the_interval_of_a_mean_holds_it_and_shrinks_with_more_cases():
    rng = np.random.default_rng(0)
    few, many = (mean_figure(rng.normal(1.0, 1.0, size)) for size in (20, 2000))
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert many.excludes_zero


def test_patients_are_drawn_whole_so_that_their_copies_narrow_nothing():
    values = np.random.default_rng(0).normal(size=30)
    patients = [f"p{number}" for number in range(30)]
    single = PatientDraws(patients).figure(lambda cases: float(values[cases].mean()))
    tenfold = np.tile(values, 10)
    copied = PatientDraws(patients * 10).figure(lambda cases: float(tenfold[cases].mean()))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    assert copied.count == 30


@given(st.lists(st.integers(0, 6), min_size=8, max_size=40), st.integers(0, 99))
def test_the_wrong_film_is_always_another_patient_s(owners, seed):
    patients = [f"p{owner}" for owner in owners]
    counts = [patients.count(patient) for patient in patients]
    if max(counts) * 2 > len(patients):
        return
    rows = np.arange(len(patients))
    wrong = other_patient(rows, patients, seed)
    assert all(patients[a] != patients[b] for a, b in zip(rows, wrong, strict=True))


def test_conditioning_writes_losses_then_figures_which_a_bundle_takes_up(
    trained, bundle_dir, tmp_path
):
    bundle = shutil.copytree(bundle_dir, tmp_path / "bundle")
    figures = evaluate_conditioning(trained)
    output = trained.run_dir / "evaluate" / "conditioning"
    assert {path.name for path in output.iterdir()} == {"losses.parquet", "metrics.json"}
    stored = json.loads((output / "metrics.json").read_text())
    name = "report loss, own minus other"
    assert stored[name]["value"] == pytest.approx(figures[name].value)
    assert figures[name].count == len(trained.reported("val"))
    stamped = stamp_metrics(trained.run_dir, bundle)
    assert open_bundle(bundle).manifest["metrics"] == stamped
    assert stamped["conditioning"][name] == stored[name]


def test_a_figure_without_an_interval_is_null_in_the_manifest(trained, bundle_dir, tmp_path):
    run_dir, bundle = tmp_path / "run", shutil.copytree(bundle_dir, tmp_path / "bundle")
    (run_dir / "evaluate" / "drawings").mkdir(parents=True)
    found = {"memorised": {"value": 0.0, "low": float("nan"), "high": float("nan"), "count": 3}}
    (run_dir / "evaluate" / "drawings" / "metrics.json").write_text(json.dumps(found))
    stamp_metrics(run_dir, bundle)
    text = (bundle / "bundle.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["metrics"]["drawings"]["memorised"]["low"] is None


def test_the_command_line_builds_a_catalog_and_names_a_bad_recipe(films_dir, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["catalog", "--run", run, "--films", str(films_dir)]) == 0
    assert (tmp_path / "run" / "images.npy").is_file()
    assert main(["catalog", "--run", run, "--recipe", "nosuch"]) == 1
    assert "shipped recipes: continue, demo, modern, paper" in capsys.readouterr().err
    assert main(["catalog", "--run", run, "--set", "sft.stepz=3"]) == 1
    assert "sft.stepz" in capsys.readouterr().err


def test_a_stage_without_its_input_says_which_command_comes_first(films_dir, tmp_path, capsys):
    assert main(["tokenizer", "--run", str(tmp_path)]) == 1
    assert "cxr-train classifier" in capsys.readouterr().err
