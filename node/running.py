"""A node that runs until the system asks it to end, and follows its configuration file."""

from __future__ import annotations

import queue
import signal
import time
from contextlib import suppress
from types import FrameType

from node.app import Node
from node.reloading import Reloader, Source
from node.service_manager import ServiceManager

_SIGNAL_LOOK_S = 1.0
_FILE_LOOK_S = 2.0


def run_until_signalled(
    node: Node, source: Source | None = None, manager: ServiceManager | None = None
) -> None:
    """Run a node until SIGTERM or SIGINT.

    Parameters
    ----------
    source
        Where its settings come from: SIGHUP reads them again, and its certificates; a file is also
        watched. None where they are nobody's file: SIGHUP reads the certificates alone.
    manager
        Is told how the node is; None: nobody.
    """
    manager = manager or ServiceManager({})
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    reloader = None if source is None else Reloader(node, source)
    node.open_monitor()
    node.warm_up()
    node.start()
    manager.ready()
    looked_at = time.monotonic()
    while (came := _next_signal(signals)) in (None, signal.SIGHUP):
        if not (node if reloader is None else reloader.node).dead():
            manager.alive()
        if reloader is None:
            if came is not None:
                node.reload()
            continue
        if came is not None:
            reloader.reload()
        elif time.monotonic() - looked_at >= _FILE_LOOK_S:
            looked_at = time.monotonic()
            reloader.look()
    manager.stopping()
    (node if reloader is None else reloader.node).stop()


def _next_signal(signals: queue.SimpleQueue[int]) -> int | None:
    """Wait for a signal, not for ever: one that another thread was given wakes nobody here."""
    with suppress(queue.Empty):
        return signals.get(timeout=_SIGNAL_LOOK_S)
    return None
