"""Whose turn it is on a device: a lock that is handed on in order, as a plain one is not."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Turn:
    """A lock in the order of asking, in two queues: who asks to be first, and all others."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _first: deque[threading.Event] = field(default_factory=deque)
    _others: deque[threading.Event] = field(default_factory=deque)
    _is_taken: bool = False

    @contextmanager
    def taken(self, *, first: bool = False) -> Iterator[None]:
        """Hold the turn for the block; ``first``: before everybody who did not ask to be."""
        self._await(first)
        try:
            yield
        finally:
            self._hand_on()

    def _await(self, first: bool) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            (self._first if first else self._others).append(mine)
        mine.wait()

    def _hand_on(self) -> None:
        with self._lock:
            waiting = self._first or self._others
            if waiting:
                waiting.popleft().set()
            else:
                self._is_taken = False
