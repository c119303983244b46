"""The film classifier on val: AUROC of each finding, view, turn and inversion, calibration."""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from engine.findings import FINDINGS
from engine.guard import VIEWS
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import CALIBRATION, load_classifier
from training.calibration import Reliability, calibration_error
from training.catalog import Film
from training.classifier import label_matrix
from training.errors import TrainingError
from training.evaluate import plots
from training.evaluate.bootstrap import Figure, PatientDraws
from training.evaluate.figure_table import store
from training.evaluate.judge import MIN_CASES, judge, mean_auroc
from training.evaluate.subgroups import subgroups
from training.stages import Run

NUM_RESAMPLES = 500
BATCH = 64
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


@torch.no_grad()
def view_hits(classifier: FilmClassifier, run: Run, rows: Rows) -> Floats:
    """Return 1 for each film whose view is recognised, else 0."""
    starts = range(0, len(rows), BATCH)
    batches = [film_tensor(np.asarray(run.images[rows[s : s + BATCH]])) for s in starts]
    found = torch.cat([classifier(batch)["view"].argmax(1) for batch in batches]).numpy()
    wanted = [VIEWS.index(run.catalog.films[row].view) for row in rows]
    return (found == np.asarray(wanted)).astype(np.float64)


def finding_figure(labels: Floats, chances: Floats, draws: PatientDraws) -> Figure | None:
    """Return the AUROC of one finding over stated labels, or ``None`` without enough cases."""

    def area(picks: Rows) -> float:
        known = picks[(labels[picks] == 0) | (labels[picks] == 1)]
        if len(set(labels[known])) < 2:
            return float("nan")
        return float(roc_auc_score(labels[known], chances[known]))

    if min((labels == 1).sum(), (labels == 0).sum()) < MIN_CASES:
        return None
    return draws.figure(area)


def mean_figure_of(labels: Floats, chances: Floats, films: list[Film], places: list[int]) -> Figure:
    """Return the mean AUROC over a subgroup, ``places`` of ``films``."""
    draws = PatientDraws([films[p].patient_id for p in places], num_resamples=NUM_RESAMPLES)
    return draws.figure(lambda picks: mean_auroc(labels[picks], chances[picks]))


def evaluate_classifier(run: Run) -> dict[str, Figure]:
    """Measure the calibrated classifier on val; writes figures and two plots."""
    classifier = load_classifier(run.run_dir)
    output = run.run_dir / "evaluate" / "classifier"
    rows = run.frontal("val")
    films = [run.catalog.films[row] for row in rows]
    labels = label_matrix(films, run.recipe.classifier).astype(np.float64)
    chances = judge(classifier, np.asarray(run.images[rows])).chances
    draws = PatientDraws([film.patient_id for film in films], num_resamples=NUM_RESAMPLES)
    areas = {
        f"AUROC {name}": figure
        for index, name in enumerate(FINDINGS)
        if (figure := finding_figure(labels[:, index], chances[:, index], draws)) is not None
    }
    figures = {"mean AUROC": draws.figure(lambda p: mean_auroc(labels[p], chances[p])), **areas}
    everyone = np.flatnonzero([film.split == "val" for film in run.catalog.films])
    hits = view_hits(classifier, run, everyone)
    owners = [run.catalog.films[row].patient_id for row in everyone]
    figures["view accuracy"] = PatientDraws(owners).figure(lambda p: float(hits[p].mean()))
    figures |= calibration_figures(run, len(rows))
    groups = {
        f"mean AUROC, {name}": mean_figure_of(labels[places], chances[places], films, places)
        for name, places in subgroups(films).items()
    }
    figures |= groups
    plots.intervals(areas, "AUROC", output / "auroc.png")
    store(figures, output)
    return figures


def calibration_figures(run: Run, count: int) -> dict[str, Figure]:
    """Return the calibration error before and after, and draw the reliability plot.

    Raises
    ------
    TrainingError
        The classifier has not been calibrated.
    """
    path = run.run_dir / CALIBRATION / "reliability.json"
    if not path.is_file():
        raise TrainingError("the classifier is not calibrated", hint="run `cxr-train calibrate`")
    stored = json.loads(path.read_text(encoding="utf-8"))
    bins = {name: [Reliability(**one) for one in found] for name, found in stored.items()}
    plots.reliability(bins, run.run_dir / "evaluate" / "classifier" / "reliability.png")
    errors = {name: calibration_error(found) for name, found in bins.items()}
    missing = float("nan")
    return {f"ECE {n}": Figure(value, missing, missing, count) for n, value in errors.items()}
