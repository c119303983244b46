"""One connection, read in pieces of a fixed buffer, under two clocks.

A peer may be slow, but not for ever: it may fall silent for a while only, and on the average it
must keep up a rate that any hospital's line has. So neither silence nor one byte a second holds a
thread for long, and no length that a peer declares makes us allocate anything.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from node.errors import ConnectionLost
from node.transport import close, hurry, no_delay

_MIN_BYTES_PER_S = 16_384
_SMALL, _LARGE = 8_192, 262_144
_GATHER = 65_536
_LINGER_S = 1.0
_LINGER_BYTES = 1_048_576


@dataclass(frozen=True)
class Patience:
    """How long to wait for one thing that a peer is to send."""

    silence_s: float
    """Seconds without a byte."""
    whole_s: float
    """Seconds for all of it, beside those that its bytes take at the slowest rate we bear."""


class Channel:
    """A connected socket and what was read from it ahead.

    Parameters
    ----------
    sock
        The connection, its TLS handshake done.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = memoryview(bytearray(_SMALL))
        self._start = self._end = 0
        self._silence_s = self._deadline = 0.0
        no_delay(sock)

    def widen(self) -> None:
        """Read in large pieces from now on; what was read ahead is kept."""
        ahead = self._buffer[self._start : self._end]
        wider = memoryview(bytearray(_LARGE))
        wider[: len(ahead)] = ahead
        self._buffer, self._start, self._end = wider, 0, len(ahead)

    def expect(self, patience: Patience) -> None:
        """Begin to wait for something."""
        self._silence_s = patience.silence_s
        self._deadline = time.monotonic() + patience.whole_s

    def take(self, num_bytes: int) -> memoryview:
        """Return the next bytes, at least one, at most so many; good until the next call.

        A few kilobytes at a time, as TLS gives them, cost more than they are worth: so many of
        those that must come anyway are gathered first.

        Raises
        ------
        ConnectionLost
            They did not come in time, or the peer closed the connection.
        """
        if self._start == self._end:
            self._fill(0)
        wanted = self._start + min(num_bytes, _GATHER)
        while self._end < wanted <= len(self._buffer):
            self._fill(self._end)
        piece = self._buffer[self._start : min(self._end, self._start + num_bytes)]
        self._start += len(piece)
        return piece

    def take_exactly(self, num_bytes: int) -> memoryview:
        """Return so many bytes, few enough to fit the buffer; good until the next call."""
        missing = num_bytes - (self._end - self._start)
        if missing > 0:
            self._move_down()
        while missing > 0:
            missing -= self._fill(self._end)
        piece = self._buffer[self._start : self._start + num_bytes]
        self._start += num_bytes
        return piece

    def read(self, num_bytes: int) -> bytes:
        """Return so many bytes, however many."""
        whole = bytearray()
        while len(whole) < num_bytes:
            whole += self.take(num_bytes - len(whole))
        return bytes(whole)

    def _move_down(self) -> None:
        ahead = bytes(self._buffer[self._start : self._end])
        self._buffer[: len(ahead)] = ahead
        self._start, self._end = 0, len(ahead)

    def _fill(self, at: int) -> int:
        """Read what is there into the buffer; return the number of bytes."""
        left_s = min(self._silence_s, self._deadline - time.monotonic())
        if left_s <= 0:
            raise ConnectionLost("what was to come did not come in time")
        try:
            self._sock.settimeout(left_s)
            num_bytes = self._sock.recv_into(self._buffer[at:])
            if num_bytes:
                hurry(self._sock)
        except TimeoutError as error:
            raise ConnectionLost("what was to come did not come in time") from error
        except (OSError, ValueError) as error:
            raise ConnectionLost("the connection broke") from error
        if not num_bytes:
            raise ConnectionLost("the peer closed the connection")
        if at == 0:
            self._start = 0
        self._end = at + num_bytes
        self._deadline += num_bytes / _MIN_BYTES_PER_S
        return num_bytes

    def send(self, encoded: bytes, within_s: float) -> None:
        """Send all of it.

        Raises
        ------
        ConnectionLost
            The peer did not take it in time, or is gone.
        """
        try:
            self._sock.settimeout(within_s)
            self._sock.sendall(encoded)
        except (OSError, ValueError) as error:
            raise ConnectionLost("the peer does not take our answer") from error

    def part(self) -> None:
        """Let the peer read our last word and close first, for a moment; then close.

        A close with bytes unread would reset the connection, and the word would be lost.
        """
        self.expect(Patience(_LINGER_S, _LINGER_S))
        with suppress(OSError, ConnectionLost, ValueError):
            self._sock.shutdown(socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0:
                left -= len(self.take(left))
        self.close()

    def close(self) -> None:
        """Close at once."""
        close(self._sock)
