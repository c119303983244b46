"""A sender that costs next to nothing: whole C-STORE messages, encoded once, timed one by one.

The bytes of an object are made before the clock starts; between two sends only the digits of its
SOP Instance UID change. So what is measured is the receiver.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from pynetdicom.dsutils import encode

from tests.films import blank, uid

SENDER = "SENDER"
CR = "1.2.840.10008.5.1.4.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_DIGITS = 10
_MARK = "1" + "0" * (_DIGITS - 1)
_CONTEXT_ID = 1
_P_DATA, _RELEASE = 4, struct.pack(">BBL4x", 5, 0, 4)


@dataclass(frozen=True)
class Target:
    """A receiver: where it listens and as whom."""

    port: int
    ae_title: str
    context: ssl.SSLContext | None = None


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _request(target: Target, sop_class_uid: str) -> bytes:
    """Return an A-ASSOCIATE-RQ for one SOP class (PS3.8 section 9.3.2)."""
    context = bytes((_CONTEXT_ID, 0, 0, 0))
    context += _item(0x30, sop_class_uid.encode()) + _item(0x40, EXPLICIT_LITTLE.encode())
    user = _item(0x51, struct.pack(">L", 131_072)) + _item(0x52, b"1.2.826.0.1.3680043.9.3811.0")
    titles = (target.ae_title.ljust(16).encode(), SENDER.ljust(16).encode())
    body = struct.pack(">HH16s16s32x", 1, 0, *titles)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BBL", 1, 0, len(body)) + body


def _exactly(sock: socket.socket, num_bytes: int) -> bytes:
    got = b""
    while len(got) < num_bytes:
        piece = sock.recv(num_bytes - len(got))
        if not piece:
            raise ConnectionError("the receiver hung up")
        got += piece
    return got


def _pdu(sock: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxL", _exactly(sock, 6))
    return kind, _exactly(sock, length)


def _largest_pdu(accept: bytes) -> int:
    """Return the Maximum Length that an A-ASSOCIATE-AC announces (PS3.8 annex D.1)."""
    at = accept.rindex(struct.pack(">BxH", 0x51, 4)) + 4
    return int(struct.unpack_from(">L", accept, at)[0]) or 131_072


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def _even(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def _film(num_bytes: int, study: str) -> bytes:
    """Return an encoded film of about so many bytes, real noise in its pixels."""
    side = max(16, round((num_bytes / 2) ** 0.5))
    stored = np.random.default_rng(1).integers(0, 4096, (side, side), dtype=np.uint16)
    ds = blank(stored, bits=12)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", study), uid("series", study)
    ds.SOPInstanceUID = _instance_uid(study)
    encoded = encode(ds, False, True)
    assert encoded is not None
    return encoded


def _instance_uid(study: str) -> str:
    return f"2.25.{abs(hash(study)) % 10**9}.{_MARK}"


def _command(
    sop_class_uid: str, field: int, *, has_data_set: bool, sop_instance_uid: str = ""
) -> bytes:
    """Return a command set (PS3.7 section 6.3)."""
    values = [
        _element(0x0002, _even(sop_class_uid)),
        _element(0x0100, struct.pack("<H", field)),
        _element(0x0110, struct.pack("<H", 1)),
        _element(0x0800, struct.pack("<H", 1 if has_data_set else 0x0101)),
    ]
    if sop_instance_uid:
        values.insert(3, _element(0x0700, struct.pack("<H", 0)))
        values.append(_element(0x1000, _even(sop_instance_uid)))
    command = b"".join(values)
    return _element(0, struct.pack("<L", len(command))) + command


def _p_data(control: int, fragment: bytes) -> bytes:
    head = struct.pack(">LBB", len(fragment) + 2, _CONTEXT_ID, control)
    return struct.pack(">BBL", _P_DATA, 0, len(head) + len(fragment)) + head + fragment


def _message(sop_instance_uid: str, encoded: bytes, largest: int) -> bytearray:
    """Return a C-STORE request as P-DATA-TF PDUs of at most so many bytes."""
    command = _command(CR, 0x0001, has_data_set=True, sop_instance_uid=sop_instance_uid)
    message, room = bytearray(_p_data(3, command)), largest - 6
    for at in range(0, len(encoded), room):
        message += _p_data(2 if at + room >= len(encoded) else 0, encoded[at : at + room])
    return message


@dataclass(frozen=True)
class Sent:
    """Milliseconds from the first byte of each object to its response, and those refused."""

    ms: tuple[float, ...]
    num_refused: int


def _connect(target: Target) -> socket.socket:
    sock: socket.socket = socket.create_connection(("127.0.0.1", target.port), timeout=120)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return target.context.wrap_socket(sock) if target.context else sock


def _send(
    target: Target, num_objects: int, num_bytes: int, name: str, ready: threading.Barrier
) -> Sent:
    """Send objects over one association, once all others are ready as well."""
    with _connect(target) as sock:
        sock.sendall(_request(target, CR))
        kind, body = _pdu(sock)
        if kind != 2:
            raise ConnectionError(f"the receiver refused the association: {body.hex()}")
        message = _message(_instance_uid(name), _film(num_bytes, name), _largest_pdu(body))
        places = _places(message)
        ms, num_refused = [], 0
        ready.wait()
        for number in range(num_objects):
            for at in places:
                message[at : at + _DIGITS] = f"{10 ** (_DIGITS - 1) + number}".encode()
            started = time.perf_counter()
            sock.sendall(message)
            _, answer = _pdu(sock)
            ms.append((time.perf_counter() - started) * 1000)
            at = answer.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
            num_refused += answer[at : at + 2] != b"\0\0"
        sock.sendall(_RELEASE)
        _pdu(sock)
    return Sent(tuple(ms), num_refused)


def _places(message: bytearray) -> tuple[int, int]:
    """Return where the UID's digits stand: in the command and in the data set."""
    first = message.index(_MARK.encode())
    return first, message.index(_MARK.encode(), first + 1)


def send_all(
    target: Target, *, num_associations: int, num_objects: int, num_bytes: int, name: str
) -> tuple[float, Sequence[Sent]]:
    """Send so many objects over each of so many associations at once; return the seconds too."""
    ready = threading.Barrier(num_associations + 1)
    with ThreadPoolExecutor(num_associations) as pool:
        tried = [
            pool.submit(_send, target, num_objects, num_bytes, f"{name}.{number}", ready)
            for number in range(num_associations)
        ]
        ready.wait(60)
        started = time.perf_counter()
        sent = [one.result() for one in tried]
        return time.perf_counter() - started, sent


def echo_rate(target: Target, seconds: float) -> float:
    """Return C-ECHO associations a second, one after the other."""
    request = _request(target, VERIFICATION)
    echo = _p_data(3, _command(VERIFICATION, 0x0030, has_data_set=False))
    started, num_done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        with _connect(target) as sock:
            for asked, expected in ((request, 2), (echo, _P_DATA), (_RELEASE, 6)):
                sock.sendall(asked)
                kind, _ = _pdu(sock)
                if kind != expected:
                    raise ConnectionError("the receiver refused the association or the echo")
        num_done += 1
    return num_done / (time.perf_counter() - started)
