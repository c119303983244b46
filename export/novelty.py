"""How far a film may lie from the training films (Mahalanobis; arXiv 1807.03888, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.nets.classifier import FilmClassifier, film_tensor

BATCH = 64
SHRINKAGE = 0.05
QUANTILE = 0.995
MARGIN = 1.25


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean [F] and precision [F, F] of the features; the distance that is still familiar."""

    mean: Tensor
    precision: Tensor
    limit: float

    @classmethod
    def of(
        cls, classifier: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64]
    ) -> Self:
        """Measure the films ``images[rows]``."""
        features = all_features(classifier, images, rows)
        mean = features.mean(0)
        centred = features - mean
        covariance = centred.t() @ centred / len(features)
        covariance += SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(mean))
        precision = torch.linalg.inv(covariance.double()).float()
        distance = ((centred @ precision) * centred).sum(1).clamp(min=0).sqrt()
        return cls(mean, precision, MARGIN * float(distance.quantile(QUANTILE)))


@torch.no_grad()
def all_features(
    classifier: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> Tensor:
    """Return pooled features [N, F] of films."""
    starts = range(0, len(rows), BATCH)
    batches = (film_tensor(np.asarray(images[rows[s : s + BATCH]])) for s in starts)
    return torch.cat([classifier(batch)["features"] for batch in batches])
