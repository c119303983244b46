"""The sockets that a node listens on, kept open while its settings change.

A node that makes way for the next closes its copy of a socket; callers that come in between wait
in the queue of the kernel, and nobody is refused.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection

Place = tuple[str, int]
"""Address and port."""


class Listeners:
    """Listening sockets by their places."""

    def __init__(self) -> None:
        self._sockets: dict[Place, socket.socket] = {}
        self._lock = threading.Lock()

    def open(self, place: Place, backlog: int) -> socket.socket:
        """Return a copy of the socket that listens at a place; its owner closes it.

        Raises
        ------
        OSError
            The place cannot be bound.
        """
        with self._lock:
            if place not in self._sockets:
                family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
                listener = socket.create_server(place, family=family, backlog=backlog)
                self._sockets[place] = listener
            return self._sockets[place].dup()

    def keep_only(self, places: Collection[Place]) -> None:
        """Close what listens anywhere else."""
        with self._lock:
            for place in [place for place in self._sockets if place not in places]:
                self._sockets.pop(place).close()
