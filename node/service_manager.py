"""Telling systemd how the node is: ready, alive, stopping (sd_notify(3)); else nothing."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress


class ServiceManager:
    """Whoever started the node, if it listens.

    Parameters
    ----------
    environment
        `NOTIFY_SOCKET` names where it listens; a `@` stands for the abstract namespace.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        place = environment.get("NOTIFY_SOCKET", "")
        self._place = f"\0{place[1:]}" if place.startswith("@") else place

    def ready(self) -> None:
        """Say that the node listens and its model is warm."""
        self._tell("READY=1")

    def alive(self) -> None:
        """Say that the node runs as it should; silence for `WatchdogSec` has it restarted."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the node is about to end."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._place:
            return
        with (
            suppress(OSError),  # nobody listens any more: nothing of ours depends on it
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.sendto(state.encode(), self._place)
