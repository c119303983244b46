"""Calibrated probabilities mean what they say, and a calibration never reorders films."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.findings import FINDINGS
from engine.nets.load import CALIBRATION, hint_thresholds, load_classifier
from training import checkpoints
from training.calibration import (
    MIN_CASES,
    best_threshold,
    calibration_error,
    platt,
    reliability,
)
from training.calibration import hint_thresholds as thresholds_of
from training.stages import Run

NUM_FILMS = 4000
RARE = FINDINGS.index("Fracture")


@pytest.fixture(scope="module")
def cases():
    """Labels drawn from known logits; the stated logits are three times too sure, and biased."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(NUM_FILMS, len(FINDINGS), generator=generator)
    labels = torch.bernoulli(truth.sigmoid(), generator=generator)
    labels[:, RARE] = 0.0
    labels[: MIN_CASES - 1, RARE] = 1.0
    return 3 * truth + 1, labels


def test_the_known_slope_and_offset_are_found_and_the_error_falls(cases):
    logits, labels = cases
    scale, shift = platt(logits, labels)
    kept = [index for index in range(len(FINDINGS)) if index != RARE]
    # the penalty holds the slope a little nearer to 1
    torch.testing.assert_close(scale[kept], torch.full((13,), 1 / 3), atol=0.08, rtol=0)
    torch.testing.assert_close(shift[kept], torch.full((13,), -1 / 3), atol=0.15, rtol=0)
    before = calibration_error(reliability(logits[:, kept], labels[:, kept]))
    after = calibration_error(reliability((logits * scale + shift)[:, kept], labels[:, kept]))
    assert before > 0.1
    assert after < 0.02


def test_labels_that_go_against_the_logits_still_reorder_nothing(cases):
    logits, labels = cases
    scale, shift = platt(logits, 1 - labels)
    assert (scale > 0).all()
    ordered = (logits * scale + shift).gather(0, logits.argsort(0))
    assert (ordered.diff(dim=0) >= 0).all()


def test_unstated_labels_count_nothing(cases):
    logits, labels = cases
    unstated = torch.full_like(labels[:500], float("nan"))
    unstated[::2] = -1.0
    padded = platt(torch.cat([logits, 9 * logits[:500]]), torch.cat([labels, unstated]))
    for found, wanted in zip(padded, platt(logits, labels), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_a_rare_finding_keeps_its_logit_and_gets_no_hint(cases):
    logits, labels = cases
    scale, shift = platt(logits, labels)
    assert (scale[RARE], shift[RARE]) == (1.0, 0.0)
    found = thresholds_of(logits * scale + shift, labels)
    assert set(found) == set(FINDINGS) - {"No Finding", FINDINGS[RARE]}


def expected_f1(chances, threshold):
    taken = chances >= threshold
    return 2 * chances[taken].sum() / (taken.sum() + chances.sum())


@settings(max_examples=60)
@given(st.lists(st.sampled_from(np.linspace(0.01, 0.99, 25).tolist()), min_size=1, max_size=40))
def test_no_threshold_promises_more_f1_than_the_best_one(values):
    chances = np.asarray(values)
    best = expected_f1(chances, best_threshold(chances))
    assert best >= max(expected_f1(chances, other) for other in np.linspace(0, 1, 101)) - 1e-12


def test_a_run_keeps_its_bins_and_its_thresholds(trained):
    stored = json.loads((trained.run_dir / CALIBRATION / "reliability.json").read_text())
    assert set(stored) == {"before", "after"}
    num_films = len(trained.reported("val"))
    known = sum(found["count"] for found in stored["before"])
    assert 0 < known <= num_films * len(FINDINGS)
    assert hint_thresholds(trained.run_dir) == {}, "four films are too few to trust"


def test_a_calibration_replaces_the_one_before(trained, tmp_path):
    run = Run(trained.recipe, shutil.copytree(trained.run_dir, tmp_path / "run"))
    # of so few films none gets a slope of its own: what stands there must go, not stay below
    parts = {"model": {"scale": torch.full((14,), 3.0), "shift": torch.full((14,), 2.0)}}
    checkpoints.save(run.run_dir / CALIBRATION, 1, parts, {"hints": {}})
    run.calibrate()
    wanted, found = (load_classifier(each.run_dir) for each in (trained, run))
    assert torch.equal(found.scale, wanted.scale)
    assert torch.equal(found.shift, wanted.shift)
