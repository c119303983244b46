"""How far a film may lie from the training films (Mahalanobis; arXiv 1807.03888, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.nets.classifier import FilmClassifier, film_tensor

BATCH = 64
NUM_DIRECTIONS = 64
QUANTILE = 0.995
MARGIN = 1.25


@dataclass(frozen=True)
class FeatureStatistics:
    """A Gaussian over features [F], as probabilistic PCA has it (Tipping and Bishop 1999).

    ``basis`` [K, F] holds the directions of largest variance, ``variances`` [K] theirs, and
    ``rest`` the mean variance of all the others: a full covariance of 1,280 features could not be
    estimated from a few thousand films. ``limit`` is the distance that is still familiar.
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor
    rest: float
    limit: float

    @classmethod
    def of(
        cls, classifier: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64]
    ) -> Self:
        """Measure the films ``images[rows]``."""
        features = all_features(classifier, images, rows)
        mean = features.mean(0)
        _, spread, directions = torch.linalg.svd(features - mean, full_matrices=False)
        variances = spread.square() / len(features)
        count = min(NUM_DIRECTIONS, len(variances) - 1)
        rest = float(variances[count:].sum() / (features.shape[1] - count))
        familiar = cls(mean, directions[:count], variances[:count], max(rest, 1e-6), 0.0)
        limit = MARGIN * float(familiar.distance(features).quantile(QUANTILE))
        return replace(familiar, limit=limit)

    def distance(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance [B] of features [B, F]."""
        gap = features - self.mean
        along = gap @ self.basis.t()
        beside = (gap.square().sum(1) - along.square().sum(1)).clamp(min=0)
        return ((along.square() / self.variances).sum(1) + beside / self.rest).sqrt()


@torch.no_grad()
def all_features(
    classifier: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> Tensor:
    """Return pooled features [N, F] of films."""
    starts = range(0, len(rows), BATCH)
    batches = (film_tensor(np.asarray(images[rows[s : s + BATCH]])) for s in starts)
    return torch.cat([classifier(batch)["features"] for batch in batches])
