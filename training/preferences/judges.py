"""Who says which of two reports is better: deterministic judges of our own, and published metrics.

The first three need nothing and are the offline default. The others run with weights from a local
folder under the interpreter that their packages want (`training.evaluate.adapters`). A judge gives
each candidate a reward, the higher the better; NaN where it has nothing to go by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.findings import FINDINGS
from engine.labeler import label
from training.errors import PreferenceError
from training.evaluate import finding_errors
from training.evaluate.adapters import Unavailable, open_adapter

Rewards = NDArray[np.float64]
Judge = Callable[[Sequence[str], Sequence[str]], Rewards]
"""Candidates and, for each, the reference -> a reward each [N]."""
NOTHING = float("nan")


def finding_error(candidate: str, reference: str) -> float:
    """Return the finding-error score of one candidate."""
    score = finding_errors.compare(candidate, reference).score
    return NOTHING if score is None else score


def finding_error_lc(candidate: str, reference: str) -> float:
    """Return the finding-error score, divided by how much longer than its reference a text is."""
    return finding_errors.length_controlled(
        finding_error(candidate, reference), candidate, reference
    )


def label_f1(candidate: str, reference: str) -> float:
    """Return the F1 of the labels that two reports call present or possible, No Finding included.

    Reports without any such label, normality included, say nothing about each other.
    """
    ours, theirs = (
        {name for name, value in zip(FINDINGS, label(text), strict=True) if value in (1.0, -1.0)}
        for text in (candidate, reference)
    )
    both = len(ours) + len(theirs)
    return 2 * len(ours & theirs) / both if both else NOTHING


def one_by_one(
    score: Callable[[str, str], float], candidates: Sequence[str], references: Sequence[str]
) -> Rewards:
    """Return the reward of each candidate by a function of two texts."""
    pairs = zip(candidates, references, strict=True)
    return np.asarray([score(*pair) for pair in pairs], np.float64)


OWN: Mapping[str, Judge] = {
    "finding-error": partial(one_by_one, finding_error),
    "finding-error-lc": partial(one_by_one, finding_error_lc),
    "label-f1": partial(one_by_one, label_f1),
}


def open_judge(name: str, folder: Path | None = None, python: Path | None = None) -> Judge:
    """Return a judge by name.

    Parameters
    ----------
    folder
        Of a published metric: the folder with one folder of weights a metric, named as the metric.
    python
        Interpreter that has the metric's package; None: this one.

    Raises
    ------
    PreferenceError
        The metric is not available here; the message says why.
    """
    if name in OWN:
        return OWN[name]
    adapter = open_adapter(name, folder / name if folder else None, python)
    if isinstance(adapter, Unavailable):
        raise PreferenceError(str(adapter), hint="name its weights with --judges, or judge by "
                              + ", ".join(OWN))  # fmt: skip

    def judged(candidates: Sequence[str], references: Sequence[str]) -> Rewards:
        return np.asarray(adapter.score_each(candidates, references), np.float64)

    return judged
