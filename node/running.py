"""A node that runs until the system asks it to end."""

from __future__ import annotations

import queue
import signal
from contextlib import suppress
from types import FrameType

from node.app import Node

_SIGNAL_LOOK_S = 1.0


def run_until_signalled(node: Node) -> None:
    """Run a node until SIGTERM or SIGINT; SIGHUP makes it read its certificates again."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    node.open_monitor()
    node.warm_up()
    node.start()
    while (came := _next_signal(signals)) in (None, signal.SIGHUP):
        if came is not None:
            node.reload()
    node.stop()


def _next_signal(signals: queue.SimpleQueue[int]) -> int | None:
    """Wait for a signal, not for ever: one that another thread was given wakes nobody here."""
    with suppress(queue.Empty):
        return signals.get(timeout=_SIGNAL_LOOK_S)
    return None
