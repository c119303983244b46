"""From logits to one token, within what the mode allows.

What may come next is a range of token ids, and logits exist for that range alone: in a text answer
every image id is impossible, in an image every other id is, at any temperature. Logits that are not
numbers are a fault, never a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Logits
from engine.errors import GenerationFault

Weights = NDArray[np.float64]

MIN_TEMPERATURE = 1e-3


@dataclass(frozen=True)
class Sampling:
    """How to pick: ``top_p`` keeps the smallest set of that mass; no temperature is greedy.

    Below 0.001 a temperature is as good as none, and dividing by it would overflow.
    """

    temperature: float = 0.0
    top_p: float = 1.0


GREEDY = Sampling()


def finite(logits: Logits) -> Logits:
    """Return the logits, refusing NaN and infinity.

    Raises
    ------
    GenerationFault
        The model produced a value that is no number.
    """
    if not np.isfinite(logits).all():
        raise GenerationFault("the model produced values that are not numbers")
    return logits


def pick(logits: Logits, sampling: Sampling, rng: np.random.Generator | None) -> int:
    """Return the index picked from logits [N]."""
    if sampling.temperature < MIN_TEMPERATURE or rng is None:
        return int(np.argmax(logits))
    below_best = logits.astype(np.float64) - float(logits.max())
    weights = np.exp(below_best / sampling.temperature)
    weights /= weights.sum()
    return int(rng.choice(len(weights), p=nucleus(weights, sampling.top_p)))


def nucleus(weights: Weights, top_p: float) -> Weights:
    """Keep the most probable entries whose mass reaches ``top_p``; the rest becomes zero."""
    if top_p >= 1.0:
        return weights
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    kept: Weights = np.zeros_like(weights)
    chosen = order[before < top_p]
    kept[chosen] = weights[chosen]
    kept /= kept.sum()
    return kept
