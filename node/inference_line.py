"""The line to one process of the model: many calls at one time, answered in any order.

Each caller watches its own call: one that takes too long ends the process. A thread listens to the
answers and, when the process is gone, clears it away and tells everybody who still waits.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from node import inference_wire as wire
from node.children import end_child, read_exactly, write_all
from node.inference_verdict import (
    NONSENSE,
    STOPPED,
    LostWithOthers,
    Verdict,
    death,
    refused,
    too_slow,
)
from node.inference_wire import HELLO, Message
from node.logs import get_logger, say

_LOG = get_logger("inference")
_Result = TypeVar("_Result")

LIMITS: Mapping[str, float] = {
    "start": 0.5,
    "inspect": 0.05,
    "assess": 0.05,
    "evidence": 0.05,
    "report": 0.25,
    "ask": 0.25,
    "follow": 0.25,
    "draw": 0.25,
}
"""What each call may take of `node.work.draft_timeout_s`: a whole draft, two drawings included,
ends within it. Half of it for the start: a large bundle has to be read and hashed."""

_DEATH_S = 5.0
"""How long a process that closed its pipes may take to be gone."""


@dataclass(eq=False)
class _Call:
    """One call under way."""

    kind: str
    read: Callable[[Message], Any]
    limit_s: float
    deadline: float
    """When it must have been answered (`time.monotonic`)."""
    latest: float
    """The same, however many calls there are beside it."""
    outcome: Future[Any] = field(default_factory=Future)


class Line:
    """One process and the calls that it owes answers to; thread-safe.

    Parameters
    ----------
    process
        It has just been started: its first answer is who the model is.
    hello
        Reads that answer.
    timeout_s
        `node.work.draft_timeout_s`.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], hello: Callable[[Message], Any], timeout_s: float
    ) -> None:
        self._process = process
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._pipes = threading.Lock()
        self._numbers = itertools.count(HELLO + 1)
        self._verdict: Verdict | None = None
        self._hello = self._new_call("start", hello)
        self._calls: dict[int, _Call] = {HELLO: self._hello}
        self._is_over = False
        self.ended_at = math.inf
        self.is_heard = False
        self.has_answered = False
        self._listener = threading.Thread(target=self._listen, daemon=True, name="model-answers")
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        self._listener.start()

    @property
    def pid(self) -> int | None:
        """The process, where it runs."""
        return None if self._is_over else self._process.pid

    def is_usable(self) -> bool:
        """Tell whether the process runs; one that has died is cleared away when this returns."""
        with self._pipes:
            has_ended = self._is_over or _has_ended(self._process)
        if has_ended:
            self._listener.join()
        return not has_ended

    def greet(self) -> Any:
        """Return who the model is, once it is loaded.

        Raises
        ------
        CxrError
            It cannot be.
        """
        self.is_heard = True
        return self._await(self._hello)

    def exchange(self, kind: str, read: Callable[[Message], _Result], request: Message) -> _Result:
        """Send a request and return what its answer is read as.

        Parameters
        ----------
        kind
            A key of `LIMITS`.

        Raises
        ------
        CxrError
            The answer is a refusal of the engine's, or the process is gone (`InferenceFault`;
            `LostWithOthers` where nobody can tell which call it was).
        """
        number = next(self._numbers)
        content = request.pack(number)
        call = self._new_call(kind, read)
        with self._lock:
            if self._is_over:
                raise LostWithOthers(f"the model stopped before this call ({kind})")
            self._join(number, call)
        self._send(call, content)
        result: _Result = self._await(call)
        return result

    def end(self) -> None:
        """End the process at once."""
        self._condemn(STOPPED)
        self._listener.join()

    def _new_call(self, kind: str, read: Callable[[Message], Any]) -> _Call:
        now, limit_s = time.monotonic(), self._timeout_s * LIMITS[kind]
        return _Call(kind, read, limit_s, now + limit_s, now + self._timeout_s)

    def _join(self, number: int, call: _Call) -> None:
        """Add a call; those under way at one time may take as long as one after the other.

        Whichever of them the model takes first, and however it mixes them, each has its time. None
        may take longer than a whole draft.
        """
        for other in self._calls.values():
            other.deadline = min(other.deadline + call.limit_s, other.latest)
            call.deadline = min(call.deadline + other.limit_s, call.latest)
        self._calls[number] = call

    def _send(self, call: _Call, content: bytes) -> None:
        """Write a request; why that fails, the listener finds out."""
        assert self._process.stdin is not None
        try:
            with self._pipes:
                write_all(self._process.stdin, content, call.deadline)
        except TimeoutError:
            self._condemn(too_slow(call.kind))
        except (OSError, ValueError):  # it is gone, or its pipe is closed already
            return

    def _await(self, call: _Call) -> Any:
        """Wait for the outcome of a call, for no longer than it may take."""
        while (left_s := call.deadline - time.monotonic()) > 0:  # it moves when others join
            try:
                return call.outcome.result(left_s)
            except TimeoutError:
                continue
        self._condemn(too_slow(call.kind), call)
        return call.outcome.result()

    def _condemn(self, verdict: Verdict, call: _Call | None = None) -> None:
        """End the process, unless the call was answered just now; the listener does the rest."""
        with self._lock:
            if call is not None and call.outcome.done():
                return
            self._verdict = self._verdict or verdict
        self._process.kill()

    def _listen(self) -> None:
        """Hand out answers until there are no more, then clear up."""
        verdict = NONSENSE
        try:
            while (found := self._next()) is None:
                continue
            verdict = found
        finally:
            self._clear_away(verdict)

    def _next(self) -> Verdict | None:
        """Take one answer; return a verdict where there are no more."""
        try:
            head = wire.read_head(self._read(wire.HEAD.size))
            text, raw = self._read(head.num_text), self._read(head.num_raw)
            return self._hand_out(head.number, wire.unpack(text, raw))
        except (OSError, EOFError):
            return self._verdict or death(self._status())
        except (ValueError, KeyError, TypeError, AttributeError):
            return NONSENSE

    def _read(self, num_bytes: int) -> bytes:
        assert self._process.stdout is not None
        return read_exactly(self._process.stdout, num_bytes)

    def _hand_out(self, number: int, answer: Message) -> Verdict | None:
        """Give an answer to whoever waits for it; return a verdict where it ends the process."""
        call = self._calls[number]
        is_refusal = "error" in answer.fields
        outcome = refused(call.kind, answer) if is_refusal else call.read(answer)
        if isinstance(outcome, Verdict):
            return outcome
        with self._lock:
            if self._verdict is not None:
                return None  # too late: who is to blame is settled
            del self._calls[number]
            if is_refusal:
                call.outcome.set_exception(outcome)
            else:
                call.outcome.set_result(outcome)
                self.has_answered = self.has_answered or call is not self._hello
        return None

    def _status(self) -> int:
        """Return how it ended after it closed its pipes; 0 where it goes on without them."""
        try:
            return self._process.wait(_DEATH_S)
        except subprocess.TimeoutExpired:
            return 0

    def _clear_away(self, verdict: Verdict) -> None:
        """End what is left of the process; tell everybody who still waits."""
        self._process.kill()  # first: whoever writes to it holds the pipes
        with self._pipes:
            end_child(self._process)
        with self._lock:
            self._is_over = True
            self.ended_at = time.monotonic()
            calls = tuple(self._calls.values())
        kinds = "+".join(call.kind for call in calls)
        if verdict is not STOPPED and self._hello not in calls:  # who waits for the start says why
            during = verdict.during or kinds or "idle"
            say(
                _LOG,
                "inference.stopped",
                level=logging.WARNING,
                during=during,
                reason=verdict.reason,
                num_calls=len(calls),
            )
        for call in calls:
            fault = verdict.on(call.kind) if len(calls) == 1 else verdict.on_one(call.kind, kinds)
            call.outcome.set_exception(fault)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended, or is about to: its pipe closes before it can be reaped."""
    assert process.stdout is not None
    poller = select.poll()
    poller.register(process.stdout, 0)
    return process.poll() is not None or bool(poller.poll(0))
