"""The listener's count of connections: who watches it may end the listener when it is zero."""

from __future__ import annotations

import socket
import threading

import pytest

from node.listeners import Listeners
from node.server import Connection, Room, Server
from tests.acceptance.peers import free_port, wait_for


def test_a_connection_is_counted_also_while_it_gets_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[int] = []
    begun, over = threading.Event(), threading.Event()

    class Watched(threading.Thread):
        def __init__(self, **given: object) -> None:
            counted.append(server.num_connections())
            super().__init__(**given)  # type: ignore[arg-type]

        def start(self) -> None:
            counted.append(server.num_connections())
            super().start()

    def serve(connection: Connection) -> None:
        begun.set()
        over.wait(10)

    place = ("127.0.0.1", free_port())
    server = Server(place, Room(4, 4), 10, serve)
    listeners = Listeners()
    server.start(listeners)
    monkeypatch.setattr("node.server.threading.Thread", Watched)
    with socket.create_connection(place) as caller:
        caller.sendall(b"\x01")
        assert begun.wait(10)
        assert counted == [1, 1]
        assert server.num_connections() == 1
        over.set()
        wait_for(lambda: server.num_connections() == 0, 10, "the connection to be over")
    server.stop()
    listeners.keep_only(())
