"""Figures with 95 % confidence intervals, by resampling cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def bootstrap(
    num_cases: int, statistic: Statistic, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Figure:
    """Return a statistic of case indices with its percentile interval over resampled cases.

    Resamples for which it is undefined (NaN) are left out.
    """
    rng = np.random.default_rng(seed)
    everyone = np.arange(num_cases)
    draws = [statistic(rng.choice(everyone, num_cases)) for _ in range(num_resamples)]
    finite = np.asarray([draw for draw in draws if np.isfinite(draw)])
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
    return Figure(statistic(everyone), float(low), float(high), num_cases)


def mean_figure(values: Floats, seed: int = 0) -> Figure:
    """Return the mean of per-case values with its interval."""
    return bootstrap(len(values), lambda cases: float(values[cases].mean()), seed)


class PatientDraws:
    """Resamples of whole patients for statistics that need the cases themselves (AUROC)."""

    def __init__(
        self, patients: Sequence[str], seed: int = 0, num_resamples: int = NUM_RESAMPLES
    ) -> None:
        _, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        self.cases = [np.flatnonzero(owner == index) for index in range(owner.max() + 1)]
        self.seed, self.num_resamples = seed, num_resamples

    def figure(self, statistic: Statistic) -> Figure:
        """Return a statistic of case indices with its interval; NaN resamples are left out."""
        return bootstrap(
            len(self.cases),
            lambda picks: statistic(np.concatenate([self.cases[pick] for pick in picks])),
            self.seed,
            self.num_resamples,
        )


class PatientResamples:
    """Resamples of whole patients, drawn once for any number of statistics.

    A statistic is a function of sums over reports, so a resample is a weighted sum of the sums of
    each patient: one matrix product instead of a pass over the reports.
    """

    def __init__(
        self, patients: Sequence[str], seed: int = 0, num_resamples: int = NUM_RESAMPLES
    ) -> None:
        names, self.owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        self.num_patients = len(names)
        rng = np.random.default_rng(seed)
        shares = np.full(self.num_patients, 1 / self.num_patients)
        self.weights = rng.multinomial(self.num_patients, shares, num_resamples).astype(np.float64)

    def figure(self, per_report: Floats, statistic: Callable[[Floats], Floats]) -> Figure:
        """Return a statistic of the sums of ``per_report`` [N, K] with its interval.

        ``statistic`` maps sums [R, K] to values [R]; NaN where undefined, and then left out. A
        mean over classes of which a resample may lack the rare ones leans to the common ones
        there, so that its interval can pass its value by.
        """
        sums = np.zeros((self.num_patients, per_report.shape[1]))
        np.add.at(sums, self.owner, per_report)
        value = float(statistic(sums.sum(0, keepdims=True))[0])
        draws = statistic(self.weights @ sums)
        finite = draws[np.isfinite(draws)]
        low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
        return Figure(value, float(low), float(high), self.num_patients)
