"""The thin port between the ledger's due work and the threads that do it.

Level-triggered: every loop asks the ledger what is due, at each kick and at each sweep, so a lost
kick is a delay and never a loss.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from node.logs import brief, get_logger, say

_LOG = get_logger("dispatch")

Step = Callable[[], bool]
"""One look at the ledger; true where there was work and there may be more."""


class Dispatch(Protocol):
    """Runs steps until it is stopped."""

    def add(self, name: str, step: Step) -> None:
        """Take a step into service; before `start`."""

    def share(self, queue_name: str, steps: Sequence[Step]) -> None:
        """Take steps into service that any process on the ledger may run; before `start`."""

    def start(self) -> None:
        """Begin."""

    def kick(self) -> None:
        """Look at the ledger now."""

    def stop(self, timeout_s: float) -> bool:
        """Finish the steps under way; tell whether all ended in time."""


def run_step(name: str, step: Step) -> bool:
    """Run a step; whatever it raises is logged, and the loop that runs it lives on."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001  (supervisor loop 1 of 2: it must not die)
        say(_LOG, "step.failed", level=logging.ERROR, step=name, reason=brief(error))
        return False


class _Loop(threading.Thread):
    """One step, repeated: at once after work, else at a kick or after the sweep time."""

    def __init__(self, name: str, step: Step, sweep_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._sweep_s = sweep_s
        self.wake = threading.Event()
        self.stopping = threading.Event()

    def run(self) -> None:
        """Run until stopped."""
        while not self.stopping.is_set():
            self.wake.clear()
            if not run_step(self.name, self._step):
                self.wake.wait(self._sweep_s)


class LocalDispatch:
    """Threads of this process: the embedded default.

    Parameters
    ----------
    sweep_s
        Seconds between two looks at the ledger when nobody kicks.
    """

    def __init__(self, sweep_s: float) -> None:
        self._sweep_s = sweep_s
        self._loops: list[_Loop] = []

    def add(self, name: str, step: Step) -> None:
        """Take a step into service as a thread of its own; before `start`."""
        self._loops.append(_Loop(name, step, self._sweep_s))

    def share(self, queue_name: str, steps: Sequence[Step]) -> None:
        """Take steps into service, each as a thread of its own: there is no other process."""
        for number, step in enumerate(steps):
            self.add(f"{queue_name}-{number}" if len(steps) > 1 else queue_name, step)

    def start(self) -> None:
        """Start the threads."""
        for loop in self._loops:
            loop.start()

    def kick(self) -> None:
        """Wake every thread."""
        for loop in self._loops:
            loop.wake.set()

    def stop(self, timeout_s: float) -> bool:
        """Let every step end, then its thread; tell whether all did in time."""
        for loop in self._loops:
            loop.stopping.set()
        self.kick()
        for loop in self._loops:
            if loop.ident is not None:
                loop.join(timeout_s)
        return not any(loop.is_alive() for loop in self._loops)
