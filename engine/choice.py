"""Which of several texts a model holds likeliest: the answer to a question with options.

A reply that is written freely may name none of them, and the longer they are the more often it
does. Their probabilities always name one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Feed, Logits, Slot
from engine.generation import Turns, read_prompts
from engine.sampling import finite
from engine.vocabulary import Vocabulary

Weights = NDArray[np.float64]


def weigh(
    slot: Slot, prompt: Sequence[int], texts: Sequence[Sequence[int]], vocabulary: Vocabulary
) -> Turns[Weights]:
    """Return the log probability [nats] of each text [N] after a prompt, its end mark included.

    No text is empty. The prompt is read once, and each text from where it ends.
    """
    rows = vocabulary.text_range
    first = (yield from read_prompts([(slot, prompt)], rows))[0]
    weights = []
    for ids in texts:
        (rest,) = yield (Feed(slot, ids, rows, num_wanted=len(ids)),)
        slot.rewind(len(prompt))
        weights.append(log_probability(np.vstack([first, rest]), [*ids, vocabulary.end_id]))
    return np.asarray(weights)


def log_probability(logits: Logits, ids: Sequence[int]) -> float:
    """Return the log probability [nats] of tokens [N] by the logits [N, V] before each of them."""
    scores = finite(logits).astype(np.float64)
    highest = scores.max(axis=1)
    totals = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    return float((scores[np.arange(len(ids)), list(ids)] - totals).sum())
