"""What backends on a device have in common: rows of one cache, fed in as few calls as possible."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Feed, Logits, refuse_overflow
from engine.backends.onnx_films import OnnxFilms
from engine.backends.rows import BUCKETS, Batch, Rows, RowSlot, batches, row_of
from engine.bundle import Bundle


@dataclass(frozen=True)
class Call:
    """Tokens for a run of rows.

    ``ids`` int64 [B, S]; ``starts`` int64 [B]: where each row's tokens go in its cache. Logits are
    wanted from position ``wanted_from`` on, over the token ids ``head``; None: no logits.
    """

    rows: range
    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    wanted_from: int
    head: range | None


class DeviceBackend(OnnxFilms, ABC):
    """A language model with one cache [B, ...] a layer; films are onnxruntime's."""

    max_batch = BUCKETS[-1]
    buckets: Sequence[int] = ()
    """Rows that a call may have; empty: any number."""

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        super().__init__(bundle, num_threads)
        self.rows = Rows(self.max_length, self.row_limit())

    @abstractmethod
    def row_limit(self) -> int:
        """Return how many sequences the device's memory can hold."""

    @abstractmethod
    def reserve(self, num_rows: int) -> None:
        """Give the cache at least so many rows; what it holds stays."""

    @abstractmethod
    def run(self, call: Call) -> Logits | None:
        """Append tokens; return the logits [B, T, len(head)]."""

    def open_slot(self) -> RowSlot:
        """Return an empty sequence."""
        return self.rows.take()

    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens to sequences; see `Backend.forward`."""
        refuse_overflow(feeds)
        found: dict[int, Logits] = {}
        for batch in batches(feeds, self.rows, self.buckets):
            call = call_of(batch, feeds, self.rows)
            self.reserve(batch.rows.stop)
            logits = self.run(call)
            for place in batch.places:
                found[place] = wanted_of(feeds[place], call, logits)
        for feed in feeds:
            slot = feed.slot
            assert isinstance(slot, RowSlot)
            slot.length += len(feed.token_ids)
        return [found[place] for place in range(len(feeds))]


def call_of(batch: Batch, feeds: Sequence[Feed], lent: Rows) -> Call:
    """Return the inputs of one call; rows and places that nobody fills hold token 0."""
    members = [feeds[place] for place in batch.places]
    ids = np.zeros((len(batch.rows), batch.width), np.int64)
    for feed in members:
        ids[row_of(feed) - batch.rows.start, : len(feed.token_ids)] = feed.token_ids
    asking = [feed for feed in members if feed.num_wanted]
    head = None
    if asking:
        ends = [feed.rows.stop for feed in asking]
        head = range(min(feed.rows.start for feed in asking), max(ends))
    wanted_from = 0
    if len(batch.rows) == 1 and asking:
        wanted_from = len(asking[0].token_ids) - asking[0].num_wanted
    return Call(batch.rows, ids, lent.starts(batch.rows), wanted_from, head)


def wanted_of(feed: Feed, call: Call, logits: Logits | None) -> Logits:
    """Return one feed's logits [num_wanted, len(rows)] out of those of its call."""
    if logits is None or call.head is None or not feed.num_wanted:
        return np.zeros((0, len(feed.rows)), np.float32)
    stop = len(feed.token_ids) - call.wanted_from
    first = feed.rows.start - call.head.start
    own = logits[row_of(feed) - call.rows.start, stop - feed.num_wanted : stop]
    return own[:, first : first + len(feed.rows)]
