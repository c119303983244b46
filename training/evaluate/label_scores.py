"""Scores of the fourteen labels of generated reports against those of their references."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.findings import FINDINGS

Floats = NDArray[np.float64]
States = tuple[float | None, ...]
Statistic = Callable[[Floats], Floats]

STATES: tuple[float | None, ...] = (None, -1.0, 0.0, 1.0)
"""Not mentioned, uncertain, absent, present: rows are the reference's, columns the prediction's."""

DEFINITION = (
    "positive = present or uncertain, negative = absent or not mentioned; AUROC of hard labels = "
    "(sensitivity + specificity) / 2; micro pools the counts of the findings, macro is their mean, "
    "weighted their mean by positives of the reference; a finding without any positive has no F1 "
    "and is left out of the means"
)
JACCARD_DEFINITION = (
    "Jaccard over four states (not mentioned, uncertain, absent, present): of each state "
    "agreement / union; micro pools the states, macro is the mean over those that occur, weighted "
    "their mean by count in the reference; over all findings micro pools, the others are means"
)

_POSITIVE = np.array([False, True, False, True])
AVERAGES = ("micro", "macro", "weighted")


def contingency(predicted: Sequence[States], reference: Sequence[States]) -> Floats:
    """Return one-hot tables [N, 14 x 4 x 4] of reference state by predicted state."""
    columns = {state: index for index, state in enumerate(STATES)}
    found = np.array([[columns[state] for state in row] for row in predicted])
    wanted = np.array([[columns[state] for state in row] for row in reference])
    tables: Floats = (
        np.eye(len(STATES))[wanted][..., :, None] * np.eye(len(STATES))[found][..., None, :]
    )
    return tables.reshape(len(found), -1)


def _tables(sums: Floats) -> Floats:
    return sums.reshape(len(sums), len(FINDINGS), len(STATES), len(STATES))


def confusion(sums: Floats) -> Floats:
    """Return hits, false alarms, misses, rejections [R, 14, 4] from sums of `contingency`."""
    tables = _tables(sums)
    sides = ((_POSITIVE, _POSITIVE), (~_POSITIVE, _POSITIVE), (_POSITIVE, ~_POSITIVE))
    parts = [tables[:, :, wanted][..., found].sum((-1, -2)) for wanted, found in sides]
    parts.append(tables[:, :, ~_POSITIVE][..., ~_POSITIVE].sum((-1, -2)))
    return np.stack(parts, -1)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Return a ratio, NaN where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def precision(counts: Floats) -> Floats:
    """Return precision [...] of counts [..., 4]; NaN where nothing was predicted."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 1])


def recall(counts: Floats) -> Floats:
    """Return recall [...] of counts [..., 4]; NaN where the reference has no positive."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 2])


def f1(counts: Floats) -> Floats:
    """Return F1 [...] of counts [..., 4]; NaN where neither side has a positive."""
    return _ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def one_point_auroc(counts: Floats) -> Floats:
    """Return the mean of sensitivity and specificity [...]; NaN where a class is empty."""
    false_rate = _ratio(counts[..., 1], counts[..., 1] + counts[..., 3])
    return (1 + recall(counts) - false_rate) / 2


MEASURES: dict[str, Callable[[Floats], Floats]] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "auroc": one_point_auroc,
}


def of_finding(measure: str, finding: str) -> Statistic:
    """Return a measure of one finding as a function of sums [R, 224] of `contingency`."""
    column = FINDINGS.index(finding)
    return lambda sums: MEASURES[measure](confusion(sums)[:, column])


def averaged(measure: str, average: str) -> Statistic:
    """Return the micro, macro or weighted average of a measure as a function of sums."""

    def of_sums(sums: Floats) -> Floats:
        counts = confusion(sums)
        if average == "micro":
            return MEASURES[measure](counts.sum(1))
        positives = counts[..., 0] + counts[..., 2]
        weights = positives if average == "weighted" else np.ones_like(positives)
        return _mean(MEASURES[measure](counts), weights)

    return of_sums


def _mean(values: Floats, weights: Floats) -> Floats:
    """Return the weighted mean over the last axis, NaN values left out."""
    defined = np.isfinite(values)
    total = np.where(defined, values * weights, 0.0).sum(-1)
    return _ratio(total, np.where(defined, weights, 0.0).sum(-1))


def jaccard(average: str, finding: str | None = None) -> Statistic:
    """Return four-state Jaccard of a finding (None: of all together) as a function of sums."""
    chosen = [FINDINGS.index(finding)] if finding else list(range(len(FINDINGS)))

    def of_sums(sums: Floats) -> Floats:
        tables = _tables(sums)[:, chosen]
        agreed = np.diagonal(tables, axis1=-2, axis2=-1)
        wanted = tables.sum(-1)
        union = wanted + tables.sum(-2) - agreed
        if average == "micro":
            return _ratio(agreed.sum((1, 2)), union.sum((1, 2)))
        weights = wanted if average == "weighted" else np.ones_like(wanted)
        return _mean(_mean(_ratio(agreed, union), weights), np.ones(wanted.shape[:2]))

    return of_sums
