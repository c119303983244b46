"""How an answer is scored, 0 … 1: one function a scorer of the registry.

What cannot be read scores 0. Nothing is drawn at random and nothing is carried over from the item
before, as the published CheXbench scripts do for missing letters and missing boxes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from engine.tasks.answers import read
from engine.tasks.registry import TASKS, Scorer
from engine.tasks.values import Box, Reading, Unparsable
from training.evaluate.overlap import rouge_l, tokens
from training.tasks.table import Example, key_of

Score = Callable[[Example, Reading], float]
GRID = 100


def accuracy(asked: Example, said: Reading) -> float:
    """Return 1 for the very answer."""
    return float(key_of(said) == asked.answer_key)


def set_f1(asked: Example, said: Reading) -> float:
    """Return the F1 of a set against the right one; two empty sets agree."""
    wanted = set(json.loads(asked.answer_key))
    found = set(said) if isinstance(said, frozenset) else set()
    total = len(wanted) + len(found)
    return 2 * len(wanted & found) / total if total else 1.0


def iou(asked: Example, said: Reading) -> float:
    """Return the intersection over union of all boxes; no box agrees with no box alone."""
    if not isinstance(said, tuple):
        return 0.0
    wanted, found = covered(Box(*edges) for edges in json.loads(asked.answer_key)), covered(said)
    union = (wanted | found).sum()
    return float((wanted & found).sum() / union) if union else 1.0


def covered(boxes: Iterable[Box]) -> NDArray[np.bool_]:
    """Return which of the 100 x 100 cells some boxes cover."""
    grid = np.zeros((GRID, GRID), dtype=bool)
    for box in boxes:
        grid[round(box.top) : round(box.bottom), round(box.left) : round(box.right)] = True
    return grid


def report(asked: Example, said: Reading) -> float:
    """Return ROUGE-L against the reference."""
    return rouge_l(tokens(said), tokens(asked.response)) if isinstance(said, str) else 0.0


SCORERS: Mapping[Scorer, Score] = {
    Scorer.ACCURACY: accuracy,
    Scorer.SET_F1: set_f1,
    Scorer.IOU: iou,
    Scorer.REPORT: report,
}


def reading(asked: Example, reply: str) -> Reading:
    """Read a reply to a row."""
    return read(TASKS[asked.task].answer, reply, asked.options)


def score(asked: Example, reply: str) -> float:
    """Return the score of a reply: 0 where it cannot be read."""
    said = reading(asked, reply)
    if isinstance(said, Unparsable):
        return 0.0
    return SCORERS[TASKS[asked.task].scorer](asked, said)
