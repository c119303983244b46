"""The DICOM wire by hand: requests, messages and answers as bytes, for senders good and bad."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

CR = "1.2.840.10008.5.1.4.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
CONTEXT_ID = 1
ACCEPT, REJECT, P_DATA, ABORT = 2, 3, 4, 7
RELEASE = struct.pack(">BBL4x", 5, 0, 4)
RELEASED = 6
IS_COMMAND, IS_LAST = 1, 2


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def request(
    called: str, calling: str, classes: Sequence[str] = (CR,), *, max_pdu: int = 131_072
) -> bytes:
    """Return an A-ASSOCIATE-RQ with a context for each SOP class (PS3.8 section 9.3.2)."""
    titles = (called.ljust(16).encode(), calling.ljust(16).encode())
    body = struct.pack(">HH16s16s32x", 1, 0, *titles) + item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, sop_class_uid in enumerate(classes):
        syntaxes = item(0x30, sop_class_uid.encode()) + item(0x40, EXPLICIT_LITTLE.encode())
        body += item(0x20, bytes(((2 * number + 1) % 256, 0, 0, 0)) + syntaxes)
    user = item(0x51, struct.pack(">L", max_pdu)) + item(0x52, b"1.2.826.0.1.3680043.9.3811.0")
    return pdu(1, body + item(0x50, user))


def element(number: int, value: bytes) -> bytes:
    """Return an element of a command set (Implicit VR Little Endian)."""
    return struct.pack("<HHL", 0, number, len(value)) + value


def _even(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def command(
    sop_class_uid: str, field: int, *, sop_instance_uid: str = "", has_data_set: bool = False
) -> bytes:
    """Return a command set (PS3.7 section 6.3)."""
    values = [
        element(0x0002, _even(sop_class_uid)),
        element(0x0100, struct.pack("<H", field)),
        element(0x0110, struct.pack("<H", 1)),
        element(0x0800, struct.pack("<H", 1 if has_data_set else 0x0101)),
    ]
    if sop_instance_uid:
        values.insert(3, element(0x0700, struct.pack("<H", 0)))
        values.append(element(0x1000, _even(sop_instance_uid)))
    whole = b"".join(values)
    return element(0, struct.pack("<L", len(whole))) + whole


def p_data(control: int, fragment: bytes, context_id: int = CONTEXT_ID) -> bytes:
    """Return a P-DATA-TF with one fragment."""
    head = struct.pack(">LBB", len(fragment) + 2, context_id, control)
    return pdu(P_DATA, head + fragment)


ECHO = p_data(IS_COMMAND | IS_LAST, command(VERIFICATION, 0x0030))


def store(sop_instance_uid: str, encoded: bytes, largest: int = 16_384) -> bytearray:
    """Return a C-STORE request as P-DATA-TF PDUs of at most so many bytes."""
    asked = command(CR, 0x0001, sop_instance_uid=sop_instance_uid, has_data_set=True)
    message, room = bytearray(p_data(IS_COMMAND | IS_LAST, asked)), largest - 6
    for at in range(0, len(encoded), room):
        control = IS_LAST if at + room >= len(encoded) else 0
        message += p_data(control, encoded[at : at + room])
    return message


def exactly(sock: socket.socket, num_bytes: int) -> bytes:
    got = b""
    while len(got) < num_bytes:
        piece = sock.recv(num_bytes - len(got))
        if not piece:
            raise ConnectionError("the receiver hung up")
        got += piece
    return got


def answer(sock: socket.socket) -> tuple[int, bytes]:
    """Read a PDU: its type and body."""
    kind, length = struct.unpack(">BxL", exactly(sock, 6))
    return kind, exactly(sock, length)


def status_of(body: bytes) -> int:
    """Return the status of a response."""
    at = body.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
    return int(struct.unpack_from("<H", body, at)[0])


def largest_pdu(accept: bytes) -> int:
    """Return the Maximum Length that an A-ASSOCIATE-AC announces (PS3.8 annex D.1)."""
    at = accept.rindex(struct.pack(">BxH", 0x51, 4)) + 4
    return int(struct.unpack_from(">L", accept, at)[0]) or 131_072


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@contextmanager
def associated(
    port: int, calling: str = "PACS", classes: Sequence[str] = (CR, VERIFICATION)
) -> Iterator[socket.socket]:
    """Open a connection to a node and an association over it."""
    with connect(port) as sock:
        sock.sendall(request("CXRDRAFT", calling, classes))
        kind, _ = answer(sock)
        assert kind == ACCEPT
        yield sock


def send(port: int, ds: Dataset) -> int:
    """Send one film over an association of its own; return the status."""
    encoded = encode(ds, False, True)
    assert encoded is not None
    with associated(port) as sock:
        sock.sendall(store(ds.SOPInstanceUID, encoded))
        _, body = answer(sock)
        sock.sendall(RELEASE)
        assert answer(sock)[0] == RELEASED
    return status_of(body)
