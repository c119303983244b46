"""Slots that are used again, each with what it last read: a prompt's known beginning is not reread.

Report, question and drawing prompts begin alike up to the film or the text, and a second question
in the same words to the same film differs in nothing but its end. Whole pieces of a prompt are kept
or read, never parts of one: the numbers of some backends depend on how many tokens they read at a
time, and what comes out of a prompt must not depend on what was asked before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.backends.base import Backend, Slot
from engine.generation import PREFILL_CHUNK


@dataclass(frozen=True)
class _Kept:
    """An idle slot and the tokens that it holds."""

    slot: Slot
    ids: tuple[int, ...]


@dataclass
class SlotPool:
    """Lends slots; at most ``max_kept`` idle ones stay."""

    backend: Backend
    max_kept: int = 4
    _idle: list[_Kept] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def lend(self, prompt: Sequence[int]) -> Iterator[Slot]:
        """Lend a slot that holds as many pieces of a prompt's beginning as any, but not its end.

        A slot whose use ended in a fault is not lent again.
        """
        slot = self._take(prompt)
        yield slot
        slot.rewind(len(prompt))
        with self._lock:
            self._idle.append(_Kept(slot, tuple(prompt[: slot.length])))
            del self._idle[: -self.max_kept]

    def _take(self, prompt: Sequence[int]) -> Slot:
        """Take the idle slot that knows most of a prompt; the longest idle where several do."""
        with self._lock:
            if not self._idle:
                return self.backend.open_slot()
            known = [shared(kept.ids, prompt) for kept in self._idle]
            best = known.index(max(known))
            if 2 * known[best] < len(prompt) and len(self._idle) < self.max_kept:
                return self.backend.open_slot()
            slot = self._idle.pop(best).slot
        pieces = min(known[best], len(prompt) - 1) // PREFILL_CHUNK
        slot.rewind(pieces * PREFILL_CHUNK)
        return slot


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences share from the start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
