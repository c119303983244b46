"""Figures with 95 % confidence intervals, by resampling cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2000
Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], float]


@dataclass(frozen=True)
class Figure:
    """A value, its 95 % interval and how many cases it rests on."""

    value: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap(num_cases: int, statistic: Statistic, seed: int = 0) -> Figure:
    """Return a statistic of case indices with its percentile interval over resampled cases.

    Resamples for which it is undefined (NaN) are left out.
    """
    rng = np.random.default_rng(seed)
    everyone = np.arange(num_cases)
    draws = [statistic(rng.choice(everyone, num_cases)) for _ in range(NUM_RESAMPLES)]
    finite = np.asarray([draw for draw in draws if np.isfinite(draw)])
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
    return Figure(statistic(everyone), float(low), float(high), num_cases)


def mean_figure(values: Floats, seed: int = 0) -> Figure:
    """Return the mean of per-case values with its interval."""
    return bootstrap(len(values), lambda cases: float(values[cases].mean()), seed)
