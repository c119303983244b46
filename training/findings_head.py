"""Refit the findings head by convex optimisation once the network below it is trained.

The head is a logistic regression on frozen features, so its best weights can be found exactly:
full-batch L-BFGS on standardised features with an L2 penalty, the scaling folded into the weights
at the end. Labels that a report does not state carry no loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from engine.nets.classifier import FilmClassifier, film_tensor, placed
from engine.nets.load import FINDINGS_HEAD
from training import checkpoints
from training.catalog import Film
from training.classifier import label_matrix
from training.progress import bar

BATCH = 64
PENALTY = 1e-4
ITERATIONS = 60


@torch.no_grad()
def head_inputs(
    classifier: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> Tensor:
    """Return the head's inputs [N, D] for the films ``images[rows]``."""
    found = []
    with bar("findings", len(rows)) as progress:
        for start in range(0, len(rows), BATCH):
            films = film_tensor(np.asarray(images[rows[start : start + BATCH]]))
            found.append(placed(films, classifier.maps(films)[-1]))
            progress.advance(progress.task_ids[0], len(films))
    return torch.cat(found)


def logistic_regression(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight [14, D] and bias [14] that fit ``labels`` [N, 14], NaN and -1 left out."""
    mean, scale = inputs.mean(0), (inputs.std(0) + 1e-3) * inputs.shape[1] ** 0.5
    scaled = (inputs - mean) / scale
    known = (labels == 0) | (labels == 1)
    targets = labels.nan_to_num().clamp(0, 1)
    weight = torch.zeros(labels.shape[1], inputs.shape[1], requires_grad=True)
    bias = torch.zeros(labels.shape[1], requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        """Return the penalised loss, its gradients computed."""
        solver.zero_grad()
        logits = scaled @ weight.t() + bias
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * known
        loss = (losses.sum(0) / known.sum(0).clamp(min=1)).sum() + PENALTY * weight.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    folded = weight.detach() / scale
    return folded, bias.detach() - folded @ mean


def fit(
    classifier: FilmClassifier,
    films: list[Film],
    images: NDArray[np.uint8],
    run_dir: Path,
    stamp: dict[str, Any],
) -> None:
    """Fit the head on the training split's frontal films and write it as a checkpoint."""
    rows = np.flatnonzero([film.view == "frontal" and film.split == "train" for film in films])
    inputs = head_inputs(classifier, images, rows)
    labels = torch.from_numpy(label_matrix([films[row] for row in rows]))
    weight, bias = logistic_regression(inputs, labels)
    checkpoints.save(run_dir / FINDINGS_HEAD, 1, {"model": {"weight": weight, "bias": bias}}, stamp)
