"""The process that the model runs in, seen from the node: started, asked, cleared away.

A call that does not end in its time, a process that dies and an answer that is none end that
process and fail that call, with the reason.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from engine import errors
from engine.config import EngineSettings
from engine.errors import CxrError
from node import inference_wire as wire
from node.children import end_child, read_exactly, reason_of, start_child, write_all
from node.config import WorkSettings
from node.errors import InferenceFault
from node.inference_child import MORE_MEMORY
from node.inference_wire import Message
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
    "draw": 0.25,
}
"""What each call may take of `node.work.draft_timeout_s`: a whole draft, two drawings included,
ends within it. Half of it for the start: a large bundle has to be read and hashed."""
TOO_SLOW = "raise node.work.draft_timeout_s if the model is slow here"

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_DEATH_S = 5.0
"""How long a process that closed its pipes may take to be gone."""
_DEATHS: Mapping[int, str] = {
    -signal.SIGKILL: "the system ended it, as it does where memory runs out",
    -signal.SIGABRT: "the runtime gave up, as it does where memory runs out",
    -signal.SIGSEGV: "the runtime crashed",
    -signal.SIGBUS: "the runtime crashed",
    -signal.SIGILL: "the runtime uses instructions that this processor does not know",
}
_CURES: Mapping[int, str] = {
    -signal.SIGKILL: "give the machine or the service more memory",
    -signal.SIGABRT: MORE_MEMORY,
}
_FAULTS: Mapping[str, type[CxrError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, CxrError)
}
"""The errors that cross as what they are; any other arrives as `InferenceFault`."""


class ModelProcess:
    """One process at a time; not thread-safe.

    Parameters
    ----------
    engine
        The `engine` section: which bundle runs, and on what.
    work
        The `node.work` section: how long a draft may take, and how much memory.
    module
        What runs in the process.
    """

    def __init__(self, engine: EngineSettings, work: WorkSettings, module: str) -> None:
        bundle = None if engine.bundle is None else engine.bundle.resolve()
        wanted = engine.model_copy(update={"bundle": bundle}).model_dump(mode="json")
        self._argument = json.dumps({"engine": wanted, "memory_mb": work.engine_memory_mb})
        self._module = module
        self._timeout_s = work.draft_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._num_failed = 0
        self._started_at = self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Its number, where it runs."""
        return None if self._process is None else self._process.pid

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_at

    def start(self) -> None:
        """Start it if it does not run; not at once where the last ones failed as well."""
        if self._process is not None:
            return
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        self._started_at = time.monotonic()
        self._process = start_child(self._module, self._argument, stderr=subprocess.DEVNULL)
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def bury(self) -> bool:
        """Clear it away if it died since its last answer; tell whether it had."""
        if self._process is None or not _has_ended(self._process):
            return False
        self._gone("idle", EOFError())
        return True

    def exchange(
        self, kind: str, read: Callable[[Message], _Result], request: bytes = b""
    ) -> _Result:
        """Send a request and read its answer.

        Parameters
        ----------
        kind
            A key of `LIMITS`; the answer to "start" is who the model is.

        Raises
        ------
        CxrError
            The answer is a refusal of the engine's, or the process is gone (`InferenceFault`).
        """
        deadline = time.monotonic() + self._timeout_s * LIMITS[kind]
        try:
            answer = self._ask(request, deadline)
            if "error" not in answer.fields:
                result = read(answer)
                self._num_failed = 0 if kind != "start" else self._num_failed
                return result
            name, reason, hint = (str(answer.fields["error"][key]) for key in _REFUSAL)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise self._gone(kind, error) from error
        if kind == "start" or name not in _FAULTS:
            self.fail(kind, reason)
        raise _FAULTS.get(name, InferenceFault)(reason, hint=hint)

    def _ask(self, request: bytes, deadline: float) -> Message:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        write_all(process.stdin, request, deadline)
        sizes = wire.sizes_of(read_exactly(process.stdout, wire.HEAD.size, deadline))
        text, raw = (read_exactly(process.stdout, size, deadline) for size in sizes)
        return wire.unpack(text, raw)

    def _gone(self, kind: str, error: Exception) -> InferenceFault:
        """Clear it away where it died, hung or spoke nonsense; return what to say of its call."""
        hint = ""
        if isinstance(error, TimeoutError):
            reason, hint = "it took too long", TOO_SLOW
        elif isinstance(error, OSError | EOFError):
            status = self._status()
            reason, hint = reason_of(status, _DEATHS), _CURES.get(status, "")
        else:
            reason = "its answer was none"
        self.fail(kind, reason)
        return InferenceFault(f"the model stopped ({kind}): {reason}", hint=hint)

    def _status(self) -> int:
        """Return how it ended after it closed its pipes; 0 where it goes on without them."""
        assert self._process is not None
        try:
            return self._process.wait(_DEATH_S)
        except subprocess.TimeoutExpired:
            return 0

    def fail(self, kind: str, reason: str) -> None:
        """End it; the second in a row that failed, and each after it, delays the next."""
        self.end()
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** (self._num_failed - 1), _LONGEST_PAUSE_S)
        self._not_before = time.monotonic() + (pause_s if self._num_failed else 0.0)
        self._num_failed += 1
        if kind != "start":  # whoever waits for the start says why there was none
            say(_LOG, "inference.stopped", level=logging.WARNING, during=kind, reason=reason)

    def end(self) -> None:
        """End it at once, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            end_child(process)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended, or is about to: its pipe closes before it can be reaped."""
    assert process.stdout is not None
    poller = select.poll()
    poller.register(process.stdout, 0)
    return process.poll() is not None or bool(poller.poll(0))


_REFUSAL = ("class", "reason", "hint")
