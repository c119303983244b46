"""Sockets without the 40 ms stalls of TCP's delayed acknowledgement.

DCMTK and Orthanc leave Nagle's algorithm on: they hold the end of a message back until what came
before is acknowledged, and the kernel puts that off for 40 ms. Asked to acknowledge at once after
every read, it does not.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


def hurry(sock: socket.socket) -> None:
    """Acknowledge what comes next at once; the kernel forgets, so ask after every read."""
    if _QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def no_delay(sock: socket.socket) -> None:
    """Send small segments at once, and acknowledge at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hurry(sock)


class HurriedSocket(socket.socket):
    """A connected socket that acknowledges after every read."""

    @classmethod
    def over(cls, sock: socket.socket) -> HurriedSocket:
        """Take a connection over from a plain socket."""
        hurried = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        no_delay(hurried)
        return hurried

    def recv(self, *arguments: int) -> bytes:
        """Read, then acknowledge at once: the peer may hold the rest back until we do."""
        received = super().recv(*arguments)
        hurry(self)
        return received


class HurriedTlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read, then acknowledge at once."""
        received = super().recv(buflen, flags)
        hurry(self)
        return received


def close(sock: socket.socket) -> None:
    """Close a connection, whether or not the peer is still there."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
