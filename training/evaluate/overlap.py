"""BLEU and ROUGE-L of reports, as R2Gen and coco-caption define them.

Figures of reports are compared across papers only when tokens, brevity penalty and smoothing are
the same; these are those of R2Gen's evaluation (arXiv 2010.16056), with one reference a report.
Not reproduced: R2Gen's cut of references to 60 tokens and its ``<unk>`` for rare words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ORDERS = 4
BETA = 1.2
_TINY, _SMALL = 1e-15, 1e-9

_LIST_NUMBER = re.compile(r"(?:(?<=^)|(?<=[.\s]))\d{1,2}\.\s+")
_DOTS = re.compile(r"\.(?:\s*\.)+")
_DROPPED = re.compile(r"[^\w\s-]|_")


def tokens(text: str) -> list[str]:
    """Return the tokens of a report: R2Gen's rule.

    Lower case; numbers of lists dropped; a sentence ends at a full stop before white space and
    closes with the token "."; every other sign but the hyphen is dropped ("5.2" becomes "52").
    """
    plain = _DOTS.sub(".", _LIST_NUMBER.sub(" ", text.lower()))
    parts = (_DROPPED.sub("", part).split() for part in re.split(r"\.(?=\s|$)", plain))
    return [word for part in parts if part for word in (*part, ".")]


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def bleu_counts(predicted: Sequence[str], reference: Sequence[str]) -> list[float]:
    """Return what BLEU sums over reports: 4 clipped matches, 4 n-gram counts, both lengths."""
    pairs = [(_ngrams(predicted, n), _ngrams(reference, n)) for n in range(1, ORDERS + 1)]
    matches = [float((ours & theirs).total()) for ours, theirs in pairs]
    guesses = [float(ours.total()) for ours, _ in pairs]
    return [*matches, *guesses, float(len(predicted)), float(len(reference))]


def bleu(order: int) -> Callable[[Floats], Floats]:
    """Return corpus BLEU of an order (1 … 4) as a function of sums [R, 10] of `bleu_counts`.

    Geometric mean of the clipped precisions up to the order, times the brevity penalty
    exp(1 - reference / predicted) where the prediction is shorter. With one reference, its length
    is the closest one.
    """

    def of_sums(sums: Floats) -> Floats:
        matches, guesses = sums[:, :order], sums[:, ORDERS : ORDERS + order]
        precision = ((matches + _TINY) / (guesses + _SMALL)).prod(1) ** (1 / order)
        ratio = (sums[:, -2] + _TINY) / (sums[:, -1] + _SMALL)
        penalty: Floats = np.where(ratio < 1, np.exp(np.minimum(0.0, 1 - 1 / ratio)), 1.0)
        return precision * penalty

    return of_sums


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by bit rows (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for word in second:
        hits = row & places.get(word, 0)
        row = (row + hits | row - hits) & everywhere
    return len(first) - row.bit_count()


def rouge_l(predicted: Sequence[str], reference: Sequence[str]) -> float:
    """Return ROUGE-L of one report: F with beta 1.2 (recall weighs more), 0 without a match."""
    common = common_subsequence(predicted, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(reference)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
