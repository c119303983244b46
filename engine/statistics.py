"""What films look like in numbers, and what those of training looked like: part of the bundle.

A few numbers a film (grey values, shape, the guard's scores), and of the training films the shares
that lie between quantiles of each. Nothing of a single film is in a bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from engine.errors import BundleCorrupt
from engine.results import Image, Inspection

ROLE = "statistics"
FORMAT = 1
NUM_BINS = 5
"""Few, so that fifty films say something about each."""

_PERCENTILES = (5, 25, 50, 75, 95)
_DIGITS = 4
_EXTREME = 0.95
"""Grey values beyond it (of 1) count as black or white."""

Measurements = Mapping[str, float]
"""The numbers of one film, by name."""


def measured(image: Image, inspection: Inspection, aspect: float) -> dict[str, float]:
    """Return the numbers of a film.

    Parameters
    ----------
    image
        float32 [1, size, size] in [-1, 1].
    aspect
        Rows divided by columns, before it was brought to that size.
    """
    levels = np.percentile(image, _PERCENTILES)
    values = {
        "mean": float(image.mean()),
        **{f"p{rank}": float(level) for rank, level in zip(_PERCENTILES, levels, strict=True)},
        "black": float((image < -_EXTREME).mean()),
        "white": float((image > _EXTREME).mean()),
        "aspect": aspect,
        **inspection.scores,
    }
    return {name: round(value, _DIGITS) for name, value in values.items()}


@dataclass(frozen=True)
class Feature:
    """How one number is distributed: `edges` cut it into bins, `shares` lie in them."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Cut values at their quantiles; equal quantiles make one edge."""
        ranks = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(values, ranks, method="lower").round(_DIGITS))
        counts = count(values, tuple(edges.tolist()))
        return cls(tuple(edges.tolist()), tuple(round(n / len(values), 6) for n in counts))


def count(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """Return how many values lie in each bin; a value on an edge lies below it."""
    bins = np.searchsorted(np.asarray(edges), np.asarray(values), side="left")
    found: list[int] = np.bincount(bins, minlength=len(edges) + 1).tolist()
    return found


@dataclass(frozen=True)
class FilmStatistics:
    """The films that a model was trained on."""

    num_films: int
    features: Mapping[str, Feature]

    @classmethod
    def of(cls, films: Sequence[Measurements]) -> Self:
        """Sum up films; each has the same numbers."""
        names = films[0]
        return cls(len(films), {name: Feature.of([film[name] for film in films]) for name in names})

    def as_json(self) -> dict[str, Any]:
        """Return the statistics as a bundle holds them."""
        features = {
            name: {"edges": list(one.edges), "shares": list(one.shares)}
            for name, one in self.features.items()
        }
        return {"format": FORMAT, "films": self.num_films, "features": features}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `as_json` gave.

        Raises
        ------
        BundleCorrupt
            The file holds no statistics of films.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            features = {name: _feature(one) for name, one in values["features"].items()}
            if values["format"] != FORMAT or not features:
                raise ValueError("another format")
            return cls(int(values["films"]), features)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise BundleCorrupt(f"{path.name} holds no statistics of films") from fault


def _feature(values: Mapping[str, Any]) -> Feature:
    edges = tuple(float(edge) for edge in values["edges"])
    shares = tuple(float(share) for share in values["shares"])
    if len(shares) != len(edges) + 1 or list(edges) != sorted(edges) or min(shares) < 0:
        raise ValueError("bins that do not fit")
    return Feature(edges, shares)
