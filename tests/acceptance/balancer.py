"""A TCP load balancer: each connection goes to the next receiver that takes it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from itertools import count

_CONNECT_S = 2.0


class Balancer:
    """Listens on a port of its own and passes bytes on."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._turn = count()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller: socket.socket) -> None:
        receiver = self._connect()
        with caller:
            if receiver is None:
                return
            with receiver:
                back = threading.Thread(target=_copy, args=(receiver, caller), daemon=True)
                back.start()
                _copy(caller, receiver)
                back.join()

    def _connect(self) -> socket.socket | None:
        """Connect to the receiver whose turn it is, or to the next that lives."""
        turn = next(self._turn)
        for step in range(len(self._ports)):
            port = self._ports[(turn + step) % len(self._ports)]
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S)
        return None

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until one side is gone; then tell the other."""
    with suppress(OSError):
        source.settimeout(None)
        while piece := source.recv(65_536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
