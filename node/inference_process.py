"""The process that the model runs in, seen from the node: started, and started again.

It is one `node.inference_line.Line` after another: each ends with its process.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from engine.config import EngineSettings
from node.children import start_child
from node.config import WorkSettings
from node.inference_line import Line
from node.inference_wire import Message
from node.meters import INFERENCE_STARTS, NO_METERS, Meters

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


class ModelProcess:
    """One process at a time; not thread-safe, but for `pid`.

    Parameters
    ----------
    engine
        The `engine` section: which bundle runs, and on what.
    work
        The `node.work` section: how long a draft may take, and how much memory.
    module
        What runs in the process.
    hello
        Reads who the model is.
    meters
        Count the starts.
    """

    def __init__(
        self,
        engine: EngineSettings,
        work: WorkSettings,
        module: str,
        hello: Callable[[Message], Any],
        meters: Meters = NO_METERS,
    ) -> None:
        bundle = None if engine.bundle is None else engine.bundle.resolve()
        wanted = engine.model_copy(update={"bundle": bundle}).model_dump(mode="json")
        self._argument = json.dumps({"engine": wanted, "memory_mb": work.engine_memory_mb})
        self._module = module
        self._hello = hello
        self._meters = meters
        self._timeout_s = work.draft_timeout_s
        self._line: Line | None = None
        self._num_failed = 0
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its number, where it runs."""
        return None if self._line is None else self._line.pid

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_at

    def line(self) -> Line:
        """Return the line to it; start it if it does not run.

        A start that failed before anybody asked for the model is returned all the same: its line
        says why.
        """
        line = self._line
        if line is not None and (not line.is_heard or line.is_usable()):
            return line
        if line is not None:
            self._wait_after(line)
        self._started_at = time.monotonic()
        self._meters.count(INFERENCE_STARTS)
        process = start_child(self._module, self._argument, stderr=subprocess.DEVNULL)
        self._line = Line(process, self._hello, self._timeout_s)
        return self._line

    def _wait_after(self, line: Line) -> None:
        """Wait before the next start, the longer the more processes in a row came to nothing."""
        num_before = 0 if line.has_answered else self._num_failed
        self._num_failed = num_before + 1
        if num_before:
            pause_s = min(_FIRST_PAUSE_S * 2.0 ** (num_before - 1), _LONGEST_PAUSE_S)
            time.sleep(max(0.0, line.ended_at + pause_s - time.monotonic()))

    def end(self) -> None:
        """End it at once, if it runs."""
        if self._line is not None:
            self._line.end()
