"""One cache for many sequences: each owns a row of it, and a call serves a run of rows.

A GPU reads a cache fastest where it lies, so sequences are not gathered for a call. A batch is a
range of rows; those in it that nobody feeds compute something that nobody sees: they write behind
their own last entry, where the next token of their own will write again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import cast
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Feed, FixedSlot
from engine.errors import GenerationFault

MAX_WIDTH = 8
"""Tokens up to which feeds share a call: a step, or a step with guesses; a prompt runs alone."""
BUCKETS = (1, 2, 4, 8, 16, 32)
"""Rows that a captured call may have."""


@dataclass(eq=False)
class RowSlot(FixedSlot):
    """One sequence: its row of the cache."""

    row: int


class Rows:
    """Who owns which row; a sequence that nobody holds any more owns none."""

    def __init__(self, max_length: int, max_rows: int) -> None:
        self.max_length, self.max_rows = max_length, max_rows
        self._owners: WeakValueDictionary[int, RowSlot] = WeakValueDictionary()

    def take(self) -> RowSlot:
        """Lend the lowest free row.

        Raises
        ------
        GenerationFault
            All are lent.
        """
        row = next(row for row in count() if row not in self._owners)
        if row >= self.max_rows:
            raise GenerationFault(
                "the GPU has no memory for another sequence",
                hint=f"it holds {self.max_rows} at once; let fewer studies run together",
            )
        slot = self._owners[row] = RowSlot(row, max_length=self.max_length)
        return slot

    def length(self, row: int) -> int:
        """Return how many entries of a row are in use."""
        owner = self._owners.get(row)
        return owner.length if owner else 0

    def starts(self, rows: range) -> NDArray[np.int64]:
        """Return where each row writes next.

        A row that is full cannot be fed before it is rewound, so its last entry is nobody's.
        """
        lengths = [min(self.length(row), self.max_length - 1) for row in rows]
        return np.asarray(lengths, np.int64)


@dataclass(frozen=True)
class Batch:
    """Feeds that one call serves: its rows, tokens a row, and which feeds they are."""

    rows: range
    width: int
    places: tuple[int, ...]


def row_of(feed: Feed) -> int:
    """Return the row that a feed belongs to."""
    return cast("RowSlot", feed.slot).row


def batches(feeds: Sequence[Feed], lent: Rows, buckets: Sequence[int] = ()) -> list[Batch]:
    """Return the calls that serve some feeds.

    Parameters
    ----------
    buckets
        The numbers of rows that a shared call may have, counted from row 0; empty: any run of rows.
    """
    last = buckets[-1] if buckets else lent.max_rows
    short = [
        place
        for place, feed in enumerate(feeds)
        if len(feed.token_ids) <= MAX_WIDTH and row_of(feed) < last
    ]
    shared = _shared(feeds, short, lent, buckets)
    if shared is None:  # a row is almost full: let single steps be shared at least
        short = [place for place in short if len(feeds[place].token_ids) == 1]
        shared = _shared(feeds, short, lent, buckets)
    found = [shared] if shared is not None else []
    known = shared.places if shared is not None else ()
    return found + [
        Batch(range(row_of(feed), row_of(feed) + 1), len(feed.token_ids), (place,))
        for place, feed in enumerate(feeds)
        if place not in known
    ]


def _shared(
    feeds: Sequence[Feed], places: Sequence[int], lent: Rows, buckets: Sequence[int]
) -> Batch | None:
    """Return one call for the feeds at some places; None for none, or if a row has no room."""
    if not places:
        return None
    width = max(len(feeds[place].token_ids) for place in places)
    width = 1 << (width - 1).bit_length()
    owned = [row_of(feeds[place]) for place in places]
    rows = _spanned(owned, buckets)
    if width > 1 and any(lent.length(row) + width > lent.max_length for row in rows):
        return None
    return Batch(rows, width, tuple(places))


def _spanned(owned: Sequence[int], buckets: Sequence[int]) -> range:
    """Return the rows of a call that reaches all of these."""
    if not buckets:
        return range(min(owned), max(owned) + 1)
    return range(next(bucket for bucket in buckets if bucket > max(owned)))
