"""The listener: a thread a connection, and never more connections than there is room for.

A connection costs its caller nothing, so those that have not said who they are may never keep out
one that does. Where the room of an address or of the house is full, the connection that has been
silent longest makes way for the one that comes.
"""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from node.logs import get_logger, say
from node.peers import plain_address
from node.transport import close

_LOG = get_logger("server")
_BACKLOG = 1_024
_POLL_S = 0.5
_GRACE_S = 0.25
_STOP_TIMEOUT_S = 5.0
_DESCRIPTORS_ASIDE = 256

Serve = Callable[["Connection"], None]


@dataclass(frozen=True)
class Room:
    """How many connections may be open, whether or not they carry an association."""

    in_all: int
    of_one_address: int


class Connection:
    """A connection and how far it has come.

    Parameters
    ----------
    sock
        As it was accepted.
    address
        Where it comes from.
    """

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock = sock
        self.address = address
        self.since = time.monotonic()
        self.is_known = False
        """Whether its caller was given an association."""

    def cut(self) -> None:
        """End it from another thread; whoever waits on it wakes up."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Server:
    """Accepts connections and gives each a thread.

    Parameters
    ----------
    place
        Address and port to listen on.
    serve
        Talks over one connection until it is over; called in the connection's thread.
    """

    def __init__(self, place: tuple[str, int], room: Room, serve: Serve) -> None:
        self._place = place
        self._room = room
        self._serve = serve
        self._connections: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def start(self) -> None:
        """Listen, in a thread.

        Raises
        ------
        OSError
            The address cannot be bound.
        """
        _raise_descriptors(self._room.in_all + _DESCRIPTORS_ASIDE)
        family = socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET
        self._listener = socket.create_server(self._place, family=family, backlog=_BACKLOG)
        self._listener.settimeout(_POLL_S)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and end what is still open; what was not acknowledged is sent again."""
        self._stopping.set()
        if self._listener is None:
            return
        self._thread.join()
        self._listener.close()
        with self._lock:
            open_now = list(self._connections.items())
        for connection, _ in open_now:
            connection.cut()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for _, thread in open_now:
            thread.join(max(deadline - time.monotonic(), 0))

    def num_connections(self) -> int:
        """Return the number of connections that are open."""
        return len(self._connections)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            sock = self._accept()
            if sock is not None:
                self._take(sock)

    def _accept(self) -> socket.socket | None:
        """Wait a moment for a connection; one that is gone already, or too many, is no fault."""
        if self._listener is None:
            return None
        try:
            sock, _ = self._listener.accept()
        except TimeoutError:
            return None
        except OSError as error:
            if not self._stopping.is_set():
                say(_LOG, "server.cannot_accept", reason=error.strerror)
                self._stopping.wait(_POLL_S)
            return None
        return sock

    def _take(self, sock: socket.socket) -> None:
        """Give a connection a thread, if there is room or can be made."""
        try:
            connection = Connection(sock, plain_address(sock.getpeername()[0]))
        except OSError:
            sock.close()
            return
        with self._lock:
            if not self._make_room(connection.address):
                close(sock)
                return
            thread = threading.Thread(
                target=self._run, args=(connection,), name="association", daemon=True
            )
            self._connections[connection] = thread
        thread.start()

    def _make_room(self, address: str) -> bool:
        """Tell whether one more fits, after the longest silent of the others was shown out."""
        there = [one for one in self._connections if one.address == address]
        crowds = (
            (there, self._room.of_one_address),
            (list(self._connections), self._room.in_all),
        )
        for crowd, limit in crowds:
            if len(crowd) < limit:
                continue
            before = time.monotonic() - _GRACE_S
            silent = [one for one in crowd if not one.is_known and one.since < before]
            if not silent:
                return False
            longest = min(silent, key=lambda one: one.since)
            del self._connections[longest]
            longest.cut()
        return True

    def _run(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        finally:
            close(connection.sock)
            with self._lock:
                self._connections.pop(connection, None)


def _raise_descriptors(wanted: int) -> None:
    """Let this process open as many files as the room needs, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
