"""Whether the films that come look like those of training: the population stability index.

For each number of a film (`engine.statistics`) the last films are counted in the bins of training.
PSI = sum of (q - p) ln(q / p) over the bins, p of training and q of now. It is not 0 without any
drift: times the number of films it follows a chi-squared distribution (Yurdakul, 2018), so what
chance alone gives in one of a thousand windows is taken off. The score is the largest that is
left; by the usual rule of thumb 0.1 is a moderate and 0.25 a major shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.statistics import Feature, FilmStatistics, Measurements, count

MEASURED: Final = "measured"
"""The stage of the timeline that holds the numbers of a film."""
MIN_FILMS: Final = 50
"""Fewer say nothing."""
WINDOW: Final = 200
"""The newest films that are looked at."""
_NORMAL_0999: Final = 3.0902
"""The 0.999 quantile of the normal distribution."""


@dataclass(frozen=True)
class Drift:
    """How far films are from those of training."""

    score: float
    feature: str
    """The number that is farthest off."""
    num_films: int
    by_feature: Mapping[str, float]


def psi(expected: Sequence[float], counts: Sequence[int]) -> float:
    """Return the population stability index of counts against expected shares.

    Half a film is added to each bin of both, so that an empty bin is no infinity.
    """
    total, bins = sum(counts), len(counts)
    p = [(share * total + 0.5) / (total + 0.5 * bins) for share in expected]
    q = [(number + 0.5) / (total + 0.5 * bins) for number in counts]
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def by_chance(num_bins: int, num_films: int, num_training: int) -> float:
    """Return the PSI that chance exceeds once in a thousand windows.

    The 0.999 quantile of chi-squared with one degree of freedom less than bins, by the
    approximation of Wilson and Hilferty (1931).
    """
    freedom = num_bins - 1
    if freedom < 1:
        return 0.0
    share = 2 / (9 * freedom)
    quantile = freedom * (1 - share + _NORMAL_0999 * math.sqrt(share)) ** 3
    return quantile * (1 / num_films + 1 / num_training)


def shift(feature: Feature, values: Sequence[float], num_training: int) -> float:
    """Return how far values have shifted, beyond chance; at least 0."""
    found = psi(feature.shares, count(values, feature.edges))
    return max(0.0, found - by_chance(len(feature.shares), len(values), num_training))


def drift_of(training: FilmStatistics, films: Sequence[Measurements]) -> Drift | None:
    """Return the drift of films; None where there are too few to tell."""
    if len(films) < MIN_FILMS:
        return None
    found = {}
    for name, feature in training.features.items():
        values = [film[name] for film in films if name in film]
        if len(values) >= MIN_FILMS:
            found[name] = round(shift(feature, values, training.num_films), 4)
    if not found:
        return None
    worst = max(found, key=lambda name: found[name])
    return Drift(found[worst], worst, len(films), found)


def detail_of(digest: str, values: Measurements) -> str:
    """Return the numbers of a film for its study's timeline, under the bundle that looked at it."""
    return " ".join([digest[:12], *(f"{name}={value:g}" for name, value in values.items())])


def read_detail(detail: str) -> tuple[str, dict[str, float]]:
    """Read what `detail_of` gave; what is no number is left out."""
    digest, *parts = detail.split(" ")
    pairs = (part.partition("=") for part in parts)
    return digest, {name: float(value) for name, _, value in pairs if _is_number(value)}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
