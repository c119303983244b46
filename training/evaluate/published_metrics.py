"""Scores by published report metrics, or the reason why one is not available here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.evaluate.adapters import PACKAGES, Scores, Unavailable, open_adapter
from training.evaluate.report_metrics import Pair

Published = dict[str, str | dict[str, Scores]]
"""By metric: scores by system, or why there are none."""


def published_metrics(
    pairs: Mapping[str, Sequence[Pair]], judges: Path | None, python: Path | None
) -> Published:
    """Score the reports of every system by every metric of `adapters.PACKAGES`.

    Parameters
    ----------
    judges
        Folder with one folder of weights a metric, named as the metric.
    python
        Interpreter that has the metrics' packages; None: this one.
    """
    found: Published = {}
    for metric in PACKAGES:
        adapter = open_adapter(metric, judges / metric if judges else None, python)
        if isinstance(adapter, Unavailable):
            found[metric] = adapter.reason
            continue
        found[metric] = {
            system: adapter.score(
                [pair.predicted for pair in written], [pair.reference for pair in written]
            )
            for system, written in pairs.items()
        }
    return found


def lines(found: Published) -> Iterator[str]:
    """Yield one line a metric and system."""
    for metric, scores in found.items():
        if isinstance(scores, str):
            yield f"{metric}: not available ({scores})"
            continue
        for system, values in scores.items():
            told = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
            yield f"{metric}, {system}: {told}"
