"""The listener: a thread for each caller that speaks, and never more of them than there is room.

A connection costs its caller nothing, so those that have not said who they are may never keep out
one that does. Silent ones wait in a lobby, which costs no thread; where the room of an address or
of the house is full, the one that has waited longest makes way for the one that comes.
"""

from __future__ import annotations

import logging
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from node.listeners import Listeners
from node.logs import get_logger, say
from node.peers import plain_address
from node.transport import close

_LOG = get_logger("server")
_BACKLOG = 1_024
_POLL_S = 0.2
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
    """Accepts connections, and gives each a thread once it says something.

    Parameters
    ----------
    place
        Address and port to listen on.
    silence_s
        How long a connection may say nothing at all.
    serve
        Talks over one connection until it is over; called in the connection's thread.
    """

    def __init__(self, place: tuple[str, int], room: Room, silence_s: float, serve: Serve) -> None:
        self._place = place
        self._room = room
        self._silence_s = silence_s
        self._serve = serve
        self._selector = selectors.DefaultSelector()
        self._lobby: dict[Connection, socket.socket] = {}
        self._talking: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._retiring, self._has_retired = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def start(self, listeners: Listeners) -> None:
        """Listen, in a thread.

        Raises
        ------
        OSError
            The address cannot be bound.
        """
        _raise_descriptors(self._room.in_all + _DESCRIPTORS_ASIDE)
        listener = listeners.open(self._place, _BACKLOG)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._thread.start()

    def retire(self) -> None:
        """Let nobody else in; those who are here stay."""
        self._retiring.set()
        if self._thread.is_alive():
            self._has_retired.wait(_STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Stop listening and end what is still open; what was not acknowledged is sent again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._selector.close()
        with self._lock:
            talking = list(self._talking.items())
        for connection, _ in talking:
            connection.cut()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for _, thread in talking:
            thread.join(max(deadline - time.monotonic(), 0))

    def is_listening(self) -> bool:
        """Tell whether callers are heard."""
        return self._thread.is_alive()

    def num_connections(self) -> int:
        """Return the number of connections that are open."""
        with self._lock:
            return len(self._lobby) + len(self._talking)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            for ready, _ in self._selector.select(_POLL_S):
                if ready.data is None:
                    self._accept(cast(socket.socket, ready.fileobj))
                elif ready.data in self._lobby:
                    self._talk(ready.data)
            self._show_out_the_silent()
            if self._retiring.is_set() and not self._has_retired.is_set():
                self._close_listener()
        for ready in list(self._selector.get_map().values()):
            close(cast(socket.socket, ready.fileobj))
        self._lobby.clear()

    def _close_listener(self) -> None:
        """Close our copy of the socket; whoever has another goes on with those who wait."""
        for ready in list(self._selector.get_map().values()):
            if ready.data is None:
                self._selector.unregister(ready.fileobj)
                cast(socket.socket, ready.fileobj).close()
        self._has_retired.set()

    def _accept(self, listener: socket.socket) -> None:
        """Let a caller into the lobby; one that is gone already, or too many, is no fault."""
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            say(_LOG, "server.cannot_accept", level=logging.ERROR, reason=error.strerror)
            self._stopping.wait(_POLL_S)
            return
        connection = Connection(sock, plain_address(address[0]))
        if not self._make_room(connection.address):
            close(sock)
            return
        self._lobby[connection] = sock
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _leave_lobby(self, connection: Connection) -> None:
        self._selector.unregister(self._lobby.pop(connection))

    def _show_out_the_silent(self) -> None:
        """Close what has said nothing for too long; the lobby is in order of arrival."""
        before = time.monotonic() - self._silence_s
        for connection in list(self._lobby):
            if connection.since > before:
                return
            self._leave_lobby(connection)
            close(connection.sock)

    def _talk(self, connection: Connection) -> None:
        """Give a connection its thread; at no time is it counted nowhere, and taken for ended."""
        thread = threading.Thread(
            target=self._run, args=(connection,), name="association", daemon=True
        )
        with self._lock:
            self._leave_lobby(connection)
            self._talking[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left: this caller pays, not the listener
            say(_LOG, "server.no_thread", level=logging.ERROR, address=connection.address)
            self._show_out(connection)
            close(connection.sock)

    def _run(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        finally:
            close(connection.sock)
            with self._lock:
                self._talking.pop(connection, None)

    def _make_room(self, address: str) -> bool:
        """Tell whether one more fits, after the longest unknown of the others was shown out."""
        with self._lock:
            everyone = [*self._lobby, *self._talking]
        there = [one for one in everyone if one.address == address]
        for crowd, limit in ((there, self._room.of_one_address), (everyone, self._room.in_all)):
            if len(crowd) < limit:
                continue
            before = time.monotonic() - _GRACE_S
            unknown = [one for one in crowd if not one.is_known and one.since < before]
            if not unknown:
                return False
            self._show_out(min(unknown, key=lambda one: (one not in self._lobby, one.since)))
        return True

    def _show_out(self, connection: Connection) -> None:
        if connection in self._lobby:
            self._leave_lobby(connection)
            close(connection.sock)
            return
        with self._lock:
            self._talking.pop(connection, None)
        connection.cut()


def _raise_descriptors(wanted: int) -> None:
    """Let this process open as many files as the room needs, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
