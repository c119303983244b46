"""Calibrate the classifier: one slope and one offset a finding (Platt 1999), fitted on val.

Probabilities go into reports, thresholds and prompts, so a stated 0.7 has to mean seven in ten.
The fit is convex and has two parameters a finding; a finding with too few cases keeps its logit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from engine import hints
from engine.findings import FINDINGS
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import CALIBRATION
from training import checkpoints
from training.losses import stated
from training.progress import bar

BATCH = 64
ITERATIONS = 50
MIN_CASES = 10
PENALTY = 1e-2
NUM_BINS = 10
LEAST_CHANCE = 0.2
"""A finding less likely than this is never named: it would be wrong four times in five."""


@dataclass(frozen=True)
class Reliability:
    """One bin of the reliability plot: mean stated probability, share that held, films."""

    stated: float
    observed: float
    count: int


@torch.no_grad()
def finding_logits(
    classifier: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> Tensor:
    """Return the findings' logits [N, 14] of the films ``images[rows]``."""
    found = []
    with bar("findings", len(rows)) as progress:
        for start in range(0, len(rows), BATCH):
            films = film_tensor(np.asarray(images[rows[start : start + BATCH]]))
            found.append(classifier(films)["findings"].float())
            progress.advance(progress.task_ids[0], len(films))
    return torch.cat(found)


def platt(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift [14] for logits and labels [N, 14]; unstated labels count nothing.

    The slope is penalised towards 1 and kept above 0, so calibration never reorders films.
    """
    known = stated(labels)
    enough = ((labels == 1) & known).sum(0).clamp(max=((labels == 0) & known).sum(0)) >= MIN_CASES
    log_scale = torch.zeros(logits.shape[1], requires_grad=True)
    shift = torch.zeros(logits.shape[1], requires_grad=True)
    solver = torch.optim.LBFGS(
        [log_scale, shift], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )
    targets = labels.clamp(0, 1).nan_to_num()

    def objective() -> Tensor:
        """Return the penalised loss, its gradients computed."""
        solver.zero_grad()
        losses = F.binary_cross_entropy_with_logits(
            logits * log_scale.exp() + shift, targets, reduction="none"
        )
        loss = (losses * known).sum(0) / known.sum(0).clamp(min=1)
        total = loss.sum() + PENALTY * log_scale.square().sum()
        total.backward()
        return total

    solver.step(objective)
    scale = torch.where(enough, log_scale.detach().exp(), 1.0)
    return scale, torch.where(enough, shift.detach(), 0.0)


def best_threshold(chances: NDArray[np.float64]) -> float:
    """Return the threshold of highest expected F1 for calibrated probabilities [N].

    Expected from the probabilities alone, ``2 sum(p taken) / (number taken + sum(p))``, so that no
    label is fitted a second time.
    """
    ordered = np.sort(chances)[::-1]
    expected = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    return float(ordered[int(expected.argmax())])


def hint_thresholds(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return a threshold for every finding with enough cases to trust its calibration."""
    cases = ((labels == 1) & stated(labels)).sum(0)
    chances = logits.double().sigmoid().numpy()
    return {
        name: max(LEAST_CHANCE, best_threshold(chances[:, index]))
        for index, name in enumerate(FINDINGS)
        if name in hints.NAMES and cases[index] >= MIN_CASES
    }


def reliability(logits: Tensor, labels: Tensor) -> list[Reliability]:
    """Return the bins of all findings together, empty ones left out."""
    known = stated(labels)
    chances, truths = logits.sigmoid()[known].numpy(), labels[known].numpy()
    bins = np.minimum((chances * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        Reliability(float(chances[inside].mean()), float(truths[inside].mean()), int(inside.sum()))
        for inside in (bins == number for number in range(NUM_BINS))
        if inside.any()
    ]


def calibration_error(bins: list[Reliability]) -> float:
    """Return the expected calibration error, bins weighted by their films."""
    total = sum(found.count for found in bins)
    return sum(abs(found.stated - found.observed) * found.count for found in bins) / total


def fit(
    classifier: FilmClassifier,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    labels: Tensor,
    run_dir: Path,
    stamp: dict[str, Any],
) -> dict[str, list[Reliability]]:
    """Fit on the given films, write the checkpoint and the bins before and after.

    A calibration that the classifier already has is taken off first: this one replaces it.
    """
    classifier.scale.fill_(1)
    classifier.shift.zero_()
    logits = finding_logits(classifier, images, rows)
    scale, shift = platt(logits, labels)
    calibrated = logits * scale + shift
    found = {
        "before": reliability(logits, labels),
        "after": reliability(calibrated, labels),
    }
    parts = {"model": {"scale": scale, "shift": shift}}
    values = {**stamp, "hints": hint_thresholds(calibrated, labels)}
    checkpoints.save(run_dir / CALIBRATION, 1, parts, values)
    text = json.dumps({name: [asdict(b) for b in bins] for name, bins in found.items()}, indent=1)
    (run_dir / CALIBRATION / "reliability.json").write_text(text)
    return found
