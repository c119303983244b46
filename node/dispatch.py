"""The thin port between the ledger's due work and the threads that do it.

Level-triggered: every loop asks the ledger what is due, at each kick and at each sweep, so a lost
kick is a delay and never a loss.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from node.logs import brief, get_logger, say

_LOG = get_logger("dispatch")
_MAX_PAUSE_S = 5.0
_MAX_HANGING = 16
"""Threads that may be left to themselves before it is the process that is ill."""

Step = Callable[[], bool]
"""One look at the ledger; true where there was work and there may be more."""


class Dispatch(Protocol):
    """Runs steps until it is stopped."""

    def add(self, name: str, step: Step, limit_s: float = math.inf) -> None:
        """Take a step into service; before `start`."""

    def share(self, queue_name: str, steps: Sequence[Step], limit_s: float = math.inf) -> None:
        """Take steps into service that any process on the ledger may run; before `start`."""

    def start(self) -> None:
        """Begin."""

    def kick(self) -> None:
        """Look at the ledger now."""

    def dead(self) -> tuple[str, ...]:
        """Return the names of the threads that were started and have died."""

    def stop(self, timeout_s: float) -> bool:
        """Finish the steps under way; tell whether all ended in time."""


def run_step(name: str, step: Step) -> bool | None:
    """Run a step; whatever it raises is logged, and the loop that runs it lives on.

    Returns
    -------
    bool or None
        Whether there was work; None where it failed.
    """
    try:
        return step()
    except Exception as error:  # noqa: BLE001  (supervisor loop 1 of 2: it must not die)
        say(_LOG, "step.failed", level=logging.ERROR, step=name, reason=brief(error))
        return None


class _Loop(threading.Thread):
    """One step, repeated: at once after work, else at a kick or after the sweep time."""

    def __init__(self, name: str, step: Step, sweep_s: float, limit_s: float = math.inf) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._sweep_s = sweep_s
        self._limit_s = limit_s
        self._began_at = math.inf
        self._num_failed = 0
        self.wake = threading.Event()
        self.stopping = threading.Event()

    def run(self) -> None:
        """Run until stopped."""
        while not self.stopping.is_set():
            self.wake.clear()
            did = self._run_step()
            self._num_failed = self._num_failed + 1 if did is None else 0
            if not did:
                self.wake.wait(self._pause_s())

    def _pause_s(self) -> float:
        """Return how long to wait: longer after each failure in a row, a database may be away."""
        pause_s = self._sweep_s * 2.0 ** min(self._num_failed, 10)
        return min(pause_s, max(self._sweep_s, _MAX_PAUSE_S))

    def _run_step(self) -> bool | None:
        """Run the step, and note since when."""
        self._began_at = time.monotonic()
        try:
            return run_step(self.name, self._step)
        finally:
            self._began_at = math.inf

    def hangs(self) -> bool:
        """Tell whether the step has been running for longer than it may."""
        return time.monotonic() - self._began_at > self._limit_s

    def successor(self) -> _Loop:
        """Return a loop of the same step; this one ends if its step ever does."""
        self.stopping.set()
        return _Loop(self.name, self._step, self._sweep_s, self._limit_s)


class LocalDispatch:
    """Threads of this process: the embedded default.

    Parameters
    ----------
    sweep_s
        Seconds between two looks at the ledger when nobody kicks.
    """

    def __init__(self, sweep_s: float) -> None:
        self._sweep_s = sweep_s
        self._num_hanging = 0
        self._loops = [_Loop("watchdog", self._replace_hanging, sweep_s)]

    def add(self, name: str, step: Step, limit_s: float = math.inf) -> None:
        """Take a step into service as a thread of its own; before `start`.

        Parameters
        ----------
        limit_s
            Seconds after which a step that does not end is left to itself and another thread
            goes on in its place: a thread cannot be killed.
        """
        self._loops.append(_Loop(name, step, self._sweep_s, limit_s))

    def share(self, queue_name: str, steps: Sequence[Step], limit_s: float = math.inf) -> None:
        """Take steps into service, each as a thread of its own: there is no other process."""
        for number, step in enumerate(steps):
            self.add(f"{queue_name}-{number}" if len(steps) > 1 else queue_name, step, limit_s)

    def start(self) -> None:
        """Start the threads."""
        for loop in self._loops:
            loop.start()

    def kick(self) -> None:
        """Wake every thread."""
        for loop in self._loops:
            loop.wake.set()

    def dead(self) -> tuple[str, ...]:
        """Return the names of the threads that were started and have died."""
        return tuple(
            loop.name for loop in self._loops if loop.ident is not None and not loop.is_alive()
        )

    def _replace_hanging(self) -> bool:
        """Put another thread in the place of each that hangs, so many times and no more."""
        for place, loop in enumerate(self._loops):
            if self._num_hanging == _MAX_HANGING or not loop.hangs():
                continue
            self._num_hanging += 1
            hint = "restart the node" if self._num_hanging == _MAX_HANGING else None
            say(_LOG, "step.hangs", level=logging.ERROR, step=loop.name, hint=hint)
            self._loops[place] = loop.successor()
            self._loops[place].start()
        return False

    def stop(self, timeout_s: float) -> bool:
        """Let every step end, then its thread; tell whether all did in time."""
        watchdog, *others = self._loops
        for loops in ([watchdog], others):
            for loop in loops:
                loop.stopping.set()
            self.kick()
            for loop in loops:
                if loop.ident is not None:
                    loop.join(timeout_s)
        return not any(loop.is_alive() for loop in self._loops)
