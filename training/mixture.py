"""Which task each row of a batch gets, and how rows are packed.

The draw is a function of seed and row number: the mixture's shares hold over any long stretch,
paraphrases and films are drawn anew for every row, and a resumed run sees the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training import order
from training.errors import TrainingError
from training.instructions import IGNORED, Row, RowBuilder

WIDTH_STEP = 64


@dataclass(frozen=True)
class Packed:
    """Rows laid end to end: ids, labels and positions [B, T]; positions restart with each row."""

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    is_packed: bool


@dataclass(frozen=True)
class Mixture:
    """Draws rows by task share."""

    builder: RowBuilder
    shares: dict[str, float]
    pool: NDArray[np.int64]
    seed: int
    rows_per_line: int = 1

    def row(self, number: int) -> Row:
        """Return row ``number`` of the endless stream."""
        rng = np.random.default_rng([self.seed, number])
        names = list(self.shares)
        weights = np.asarray([self.shares[name] for name in names])
        task = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        film = self.pool[order.batch_rows(len(self.pool), 1, self.seed, number)[0]]
        return self.builder.tasks()[task](int(film), rng)

    def batch(self, step: int, batch_size: int, max_length: int) -> Packed:
        """Return the batch of a step: row by row on its own line, or packed where recipes ask.

        Rows are numbered by step, so a batch needs no memory of the one before. A packed batch
        draws ``rows_per_line`` rows for each line; one that finds no room starts a line of its
        own, so none is cut or lost.
        """
        rows_per_step = batch_size * self.rows_per_line
        first = step * rows_per_step
        lines: list[list[Row]] = [[] for _ in range(batch_size)]
        for number in range(first, first + rows_per_step):
            place(lines, self.row(number), max_length)
        return stack(lines)


def place(lines: list[list[Row]], row: Row, max_length: int) -> None:
    """Put a row on the emptiest line, or on a new one where it has no room."""
    if len(row) > max_length:
        raise TrainingError(f"a row of {len(row)} tokens exceeds sft.max_length {max_length}")
    emptiest = min(lines, key=lambda line: sum(map(len, line)))
    if sum(map(len, emptiest)) + len(row) > max_length:
        lines.append([row])
    else:
        emptiest.append(row)


def stack(lines: list[list[Row]]) -> Packed:
    """Lay lines of rows out as arrays, padded on the right to the longest line.

    The width is rounded up to a multiple of 64: kernels are compiled and cached by shape, and a
    new width every step would fill memory with kernels that never run again.
    """
    longest = max(sum(map(len, line)) for line in lines)
    shape = (len(lines), -(-longest // WIDTH_STEP) * WIDTH_STEP)
    ids = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    for index, line in enumerate(lines):
        start = 0
        for row in line:
            stop = start + len(row)
            ids[index, start:stop] = row.input_ids
            labels[index, start:stop] = row.labels
            positions[index, start:stop] = np.arange(len(row))
            start = stop
        positions[index, start:] = np.arange(shape[1] - start)
    return Packed(ids, labels, positions, is_packed=any(len(line) > 1 for line in lines))
