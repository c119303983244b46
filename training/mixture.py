"""Which task each row of a batch gets, and how rows are packed.

The draw is a function of seed and row number: the mixture's shares hold over any long stretch,
paraphrases and films are drawn anew for every row, and a resumed run sees the same rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.instructions import IGNORED, Row, RowBuilder
from training.pools import Pool, TaskPool

WIDTH_STEP = 64


@dataclass(frozen=True)
class Packed:
    """Rows laid end to end: ids, labels and positions [B, T]; positions restart with each row.

    ``num_left_out`` counts the parts of studies that found no room in their rows.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    is_packed: bool
    num_left_out: int = 0


@dataclass(frozen=True)
class Mixture:
    """Draws rows by task share, each from the films of its task."""

    builder: RowBuilder
    pools: Mapping[str, Pool | TaskPool]
    seed: int

    def row(self, number: int) -> Row:
        """Return row ``number`` of the endless stream."""
        rng = np.random.default_rng([self.seed, number])
        shares = self.builder.settings.mixture
        weights = np.asarray(list(shares.values()))
        task = list(shares)[int(rng.choice(len(shares), p=weights / weights.sum()))]
        film = self.pools[task].pick(number, self.seed, rng)
        return self.builder.tasks()[task](film, rng)

    def numbers(self, step: int) -> range:
        """Return the row numbers of the global batch of a step."""
        settings = self.builder.settings
        count = settings.batch_size * settings.rows_per_line
        return range(step * count, (step + 1) * count)

    def batches(self, numbers: Sequence[int], count: int) -> list[Packed]:
        """Return rows by number in at most ``count`` batches, rows of like length together.

        A batch has each row on its own line, or ``rows_per_line`` rows to a line on average where
        recipes ask for packing; a row that finds no room starts a line of its own, so none is cut
        or lost.
        """
        rows = sorted((self.row(number) for number in numbers), key=len)
        bounds = [len(rows) * part // count for part in range(count + 1)]
        parts = (rows[start:stop] for start, stop in itertools.pairwise(bounds))
        return [self.pack(part) for part in parts if part]

    def pack(self, rows: Sequence[Row]) -> Packed:
        """Lay rows on lines."""
        settings = self.builder.settings
        lines: list[list[Row]] = [[] for _ in range(-(-len(rows) // settings.rows_per_line))]
        for row in rows:
            place(lines, row, settings.max_length)
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
    num_left_out = sum(row.num_left_out for line in lines for row in line)
    is_packed = any(len(line) > 1 for line in lines)
    return Packed(ids, labels, positions, is_packed, num_left_out)
