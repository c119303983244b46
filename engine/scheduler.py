"""Continuous batching: every step feeds all sequences that may run, and one may join at any step.

Whoever waits for an answer drives the model for everybody: no thread of its own, and no sequence
waits for another one to end. The most urgent sequences run alone, so that a drawing of 256 steps
delays an urgent report by the one step that is under way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, cast

from engine.backends.base import Backend, Feed, refuse_overflow
from engine.generation import Result, Turns
from engine.turns import Turn


class Urgency(IntEnum):
    """Who goes first; a lower number does."""

    STAT = 0
    ROUTINE = 1
    ILLUSTRATION = 2


@dataclass(eq=False)
class _Job:
    """One coroutine, what it wants to be fed next, and how it ended."""

    turns: Turns[Any]
    urgency: Urgency
    feeds: tuple[Feed, ...] = ()
    result: Any = None
    fault: BaseException | None = None
    is_done: bool = False

    def advance(self, logits: list[Any] | None) -> None:
        """Give the coroutine its logits; note its next wish, or its end."""
        try:
            self.feeds = next(self.turns) if logits is None else self.turns.send(logits)
            refuse_overflow(self.feeds)
        except StopIteration as end:
            self.result, self.is_done = end.value, True
        except BaseException as fault:  # noqa: BLE001  (it belongs to whoever waits for this job)
            self.fault, self.is_done = fault, True


@dataclass
class Scheduler:
    """Steps many coroutines on one backend."""

    backend: Backend
    _turn: Turn = field(default_factory=Turn)
    _jobs: list[_Job] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, turns: Turns[Result], urgency: Urgency = Urgency.ROUTINE) -> Result:
        """Run a coroutine to its end, together with those of other callers.

        Raises
        ------
        GenerationFault
            It, or the step that it shared, came to nothing.
        """
        job = _Job(turns, urgency)
        job.advance(None)
        if not job.is_done:
            with self._lock:  # not the turn: the very next step may be this job's
                self._jobs.append(job)
        while not job.is_done:
            with self._turn.taken():
                if not job.is_done:
                    self._step()
        if job.fault is not None:
            raise job.fault
        return cast("Result", job.result)

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Use the device for something else after the step that is under way."""
        with self._turn.taken(first=True):
            yield

    def _step(self) -> None:
        """Feed the jobs whose turn it is, once."""
        chosen = self._chosen()
        feeds = [feed for job in chosen for feed in job.feeds]
        try:
            logits = self.backend.forward(feeds)
        except Exception as fault:  # noqa: BLE001  (whatever it is, each of them has to hear of it)
            for job in chosen:
                job.fault, job.is_done = fault, True
        else:
            for job in chosen:
                own, logits = logits[: len(job.feeds)], logits[len(job.feeds) :]
                job.advance(own)
        with self._lock:
            self._jobs = [job for job in self._jobs if not job.is_done]

    def _chosen(self) -> list[_Job]:
        """Return the most urgent jobs, the longest waiting first, as many as one step serves."""
        with self._lock:
            waiting = [job for job in self._jobs if not job.is_done]
        first = min(job.urgency for job in waiting)
        chosen: list[_Job] = []
        room = self.backend.max_batch
        for job in waiting:
            if job.urgency == first and (not chosen or len(job.feeds) <= room):
                chosen.append(job)
                room -= len(job.feeds)
        return chosen
