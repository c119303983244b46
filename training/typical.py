"""Which reports are worded as most reports with the same findings are.

A hundred radiologists word a normal film in a hundred ways; a small model that learns them all
writes, greedily, a way that is nobody's. Of the reports that tell the same findings a stage may
keep those that would agree best with the rest, had each been given for all: what minimum Bayes risk
decoding (Kumar and Byrne, 2004) picks among samples, picked here before training instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.labeler import label
from training.catalog import Film, present_in
from training.evaluate.overlap import ORDERS, bleu, bleu_counts, rouge_l, tokens
from training.instructions import told

PEERS = 60
"""Reports that each is compared with; more change the order little."""
KEPT = 5
"""As many are kept of any findings, if there are as many: rare ones have no usual wording."""


def agreement(words: Sequence[str], peers: Sequence[Sequence[str]]) -> float:
    """Return how well one report would do for all its peers: corpus BLEU-4 plus mean ROUGE-L."""
    counts = np.asarray([bleu_counts(words, peer) for peer in peers]).sum(0, keepdims=True)
    alike = np.mean([rouge_l(words, peer) for peer in peers])
    return float(bleu(ORDERS)(counts)[0] + alike)


def by_agreement(texts: Sequence[Sequence[str]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the order of tokenised reports, the one that agrees best with the others first."""
    peers = rng.permutation(len(texts))[: PEERS + 1]
    scores = [
        agreement(words, [texts[peer] for peer in peers[peers != place][:PEERS]])
        for place, words in enumerate(texts)
    ]
    return np.argsort(-np.asarray(scores), kind="stable")


def typical(
    films: list[Film], rows: Sequence[int], target: str, share: float, seed: int
) -> list[int]:
    """Return the ``share`` of rows whose text agrees best with others of the same findings."""
    if share == 1:
        return list(rows)
    groups: dict[frozenset[str], list[int]] = {}
    for row in rows:
        groups.setdefault(present_in(label(told(films[row], target))), []).append(row)
    kept: list[int] = []
    for group in groups.values():
        count = max(KEPT, round(share * len(group)))
        if count >= len(group):
            kept += group
            continue
        texts = [tokens(told(films[row], target)) for row in group]
        order = by_agreement(texts, np.random.default_rng(seed))
        kept += [group[place] for place in order[:count]]
    return sorted(kept)
