"""The film classifier as the judge of reconstructed and drawn films.

Table 4 of arXiv 2305.11490: the judge reads the real film, its answers become the reference labels,
and its probabilities for the made film are scored against them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from engine.findings import FINDINGS
from engine.nets.classifier import FilmClassifier, film_tensor
from training.progress import bar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BATCH = 64
MIN_CASES = 5
JUDGED = tuple(range(1, len(FINDINGS)))
"""Columns that are scored: ``No Finding`` is no finding."""


@dataclass(frozen=True)
class Judgement:
    """What the judge says of N films: probabilities [N, 14] and pooled features [N, F]."""

    chances: Floats
    features: Floats


@torch.no_grad()
def judge(classifier: FilmClassifier, films: NDArray[np.uint8]) -> Judgement:
    """Read films uint8 [N, 256, 256]."""
    chances, features = [], []
    with bar("judging", len(films)) as progress:
        for start in range(0, len(films), BATCH):
            found = classifier(film_tensor(np.asarray(films[start : start + BATCH])))
            chances.append(found["findings"].sigmoid())
            features.append(found["features"])
            progress.advance(progress.task_ids[0], len(chances[-1]))
    return Judgement(torch.cat(chances).double().numpy(), torch.cat(features).double().numpy())


def referenced(chances: Floats, thresholds: dict[str, float]) -> Ints:
    """Return the reference labels [N, 14] that the judge's probabilities for real films mean."""
    limits = np.asarray([thresholds.get(name, 0.5) for name in FINDINGS])
    return (chances >= limits).astype(np.int64)


def scorable(labels: Ints | Floats) -> list[int]:
    """Return the columns with enough films on both sides."""
    present = (labels == 1).sum(0)
    absent = (labels == 0).sum(0)
    return [i for i in JUDGED if min(present[i], absent[i]) >= MIN_CASES]


def aurocs(labels: Floats, chances: Floats) -> dict[str, float]:
    """Return the AUROC of every finding that has cases; labels other than 0 and 1 are left out."""
    found = {}
    for index in scorable(labels):
        known = (labels[:, index] == 0) | (labels[:, index] == 1)
        found[FINDINGS[index]] = float(roc_auc_score(labels[known, index], chances[known, index]))
    return found


def mean_auroc(labels: Floats, chances: Floats) -> float:
    """Return the unweighted mean AUROC, NaN where no finding has cases."""
    found = list(aurocs(labels, chances).values())
    return float(np.mean(found)) if found else float("nan")


def averaged(labels: Ints, chances: Floats, thresholds: dict[str, float]) -> dict[str, float]:
    """Return micro, macro and weighted AUROC and F1 over the findings that have cases."""
    columns = scorable(labels)
    if not columns:
        return {}
    truth, scores = labels[:, columns], chances[:, columns]
    taken = referenced(chances, thresholds)[:, columns]
    found = {}
    for average in ("micro", "macro", "weighted"):
        found[f"auroc_{average}"] = float(roc_auc_score(truth, scores, average=average))
        found[f"f1_{average}"] = float(f1_score(truth, taken, average=average, zero_division=0))
    return found
