"""The wire under pynetdicom 3.0.4: bounded reads, deadlines, no 40 ms acknowledgement stalls.

pynetdicom believes the length that a PDU header declares, waits for ever for the rest of it, reads
4096 bytes at a time, and leaves TCP's delayed acknowledgement on, which costs 40 ms a message with
peers that leave Nagle's algorithm on (DCMTK, Orthanc). All four are settled here.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from node.errors import NodeError
from node.peers import plain_address

_MIB = 1024 * 1024
_P_DATA = 0x04
_PDU_LIMITS = {0x01: 65_536, 0x02: 65_536, 0x03: 64, 0x05: 64, 0x06: 64, 0x07: 64}
"""Largest bodies of PDUs other than P-DATA-TF, in bytes (PS3.8 section 9.3)."""
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)

OnRefused = Callable[[Association, str], None]
Secure = Callable[[socket.socket, str], socket.socket | None]
"""Shakes hands with a caller at an address; None where it came to nothing and all is closed."""


@dataclass(frozen=True)
class Limits:
    """How much, how long and how many."""

    pdu_bytes: int
    """Largest body of a P-DATA-TF PDU that we accept."""
    message_bytes: int
    """Largest DIMSE message, its data set included."""
    request_s: float
    """Seconds for a PDU to come in whole before the association is accepted."""
    message_s: float
    """The same, after it."""
    num_connections: int
    """TCP connections at one time, whether or not they carry an association yet."""
    num_connections_per_ip: int


class PduRefused(NodeError):
    """A PDU is longer than the node takes."""


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


class BoundedSocket(AssociationSocket):
    """An association's socket that refuses a PDU on its header and a body that dawdles."""

    def __init__(
        self, assoc: Association, client: socket.socket, *, limit: Limits, on_refused: OnRefused
    ) -> None:
        super().__init__(assoc, client_socket=client)
        self._limit = limit
        self._on_refused = on_refused
        self._expects_body = False
        self._message_bytes = 0
        no_delay(client)

    def end_message(self) -> None:
        """Start counting the next DIMSE message from zero."""
        self._message_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read the six bytes of a PDU header, or its body.

        Raises
        ------
        PduRefused
            The header declares more than the node takes.
        TimeoutError
            The bytes did not come in time.
        """
        if self._expects_body:
            self._expects_body = False
            return self._read(nr_bytes)
        header = self._read(nr_bytes)
        if len(header) == 6:
            self._check_header(header)
        return header

    def _check_header(self, header: bytearray) -> None:
        pdu_type, _, length = struct.unpack(">BBL", header)
        self._expects_body = 0x01 <= pdu_type <= 0x07
        if pdu_type == _P_DATA:
            self._message_bytes += length
        if length > _PDU_LIMITS.get(pdu_type, max(self._limit.pdu_bytes, _MIB)):
            self._refuse(f"a PDU of {length} bytes is declared")
        if self._message_bytes > self._limit.message_bytes:
            self._refuse(f"the object is larger than {self._limit.message_bytes // _MIB} MB")

    def _refuse(self, reason: str) -> None:
        self._on_refused(self.assoc, reason)
        raise PduRefused(reason)

    def _shutdown_socket(self) -> None:
        """Close also where the peer was first, which pynetdicom leaves to the collector."""
        if self.socket is not None:
            close(self.socket)

    def _read(self, num_bytes: int) -> bytearray:
        sock = self.socket
        if sock is None:
            return bytearray()
        limit_s = self._limit.message_s if self.assoc.is_established else self._limit.request_s
        deadline = time.monotonic() + limit_s
        buffer = bytearray(num_bytes)
        view, at = memoryview(buffer), 0
        while at < num_bytes:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            got = sock.recv_into(view[at:])
            hurry(sock)
            if not got:
                break
            at += got
        sock.settimeout(limit_s)
        return buffer if at == num_bytes else bytearray(view[:at])


class _BoundedHandler(RequestHandler):
    """Gives each incoming association a bounded socket."""

    server: BoundedServer

    def handle(self) -> None:
        """Shake hands where TLS is on, here in the connection's own thread; then associate."""
        secured = self.server.secured(self.request, self.client_address[0])
        if secured is not None:
            self.request = secured
            super().handle()

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        assoc.dul.event_queue.get_nowait()  # the socket announced itself (Evt5); ours does again
        assoc.dul.socket = BoundedSocket(
            assoc, self.request, limit=self.server.limits, on_refused=self.server.on_refused
        )
        return assoc


class BoundedServer(ThreadedAssociationServer):
    """A listener with a long backlog and a ceiling on connections."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        *,
        evt_handlers: list[EventHandlerType],
        limits: Limits,
        on_refused: OnRefused,
        secure: Secure | None = None,
    ) -> None:
        self.limits = limits
        self.on_refused = on_refused
        self._secure = secure
        self._shaking: list[str] = []
        super().__init__(
            ae,
            address,
            ae_title,
            contexts,
            evt_handlers=evt_handlers,
            request_handler=_BoundedHandler,
        )

    def secured(self, sock: socket.socket, address: str) -> socket.socket | None:
        """Return the connection to talk over, or None; a handshake holds a connection's place."""
        if self._secure is None:
            return sock
        place = plain_address(address)
        self._shaking.append(place)
        try:
            return self._secure(sock, place)
        finally:
            self._shaking.remove(place)

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Take a connection while there is room for it."""
        addresses = Counter(
            plain_address(assoc.requestor.address) for assoc in self.active_associations
        ) + Counter(list(self._shaking))
        return (
            addresses.total() < self.limits.num_connections
            and addresses[plain_address(client_address[0])] < self.limits.num_connections_per_ip
        )
