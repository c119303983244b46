"""Which rows stand in which batch, as a function of nothing but seed and step.

A resumed run asks for step N and gets exactly the rows that an uninterrupted run would have seen:
no sampler state is saved, so none can be lost (stateful loaders were measured to diverge after a
resume).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def permutation(num_rows: int, seed: int, epoch: int) -> Rows:
    """Return the row order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_rows).astype(np.int64)


def batch_rows(num_rows: int, batch_size: int, seed: int, step: int) -> Rows:
    """Return the rows of the global batch at ``step``; epochs run on without a short batch."""
    start = step * batch_size
    first, last = start // num_rows, (start + batch_size - 1) // num_rows
    joined = np.concatenate([permutation(num_rows, seed, e) for e in range(first, last + 1)])
    offset = start - first * num_rows
    return joined[offset : offset + batch_size]


def rank_rows(rows: Rows, rank: int, world: int) -> Rows:
    """Return the share of a global batch that one process takes."""
    return rows[rank::world]
