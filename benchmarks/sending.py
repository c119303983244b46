"""A sender that costs next to nothing: whole C-STORE messages, encoded once, timed one by one.

The bytes of an object are made before the clock starts; between two sends only the digits of its
SOP Instance UID change. So what is measured is the receiver.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from pynetdicom.dsutils import encode

from tests import wire
from tests.films import blank, uid

SENDER = "SENDER"
_DIGITS = 10
_MARK = "1" + "0" * (_DIGITS - 1)


@dataclass(frozen=True)
class Target:
    """A receiver: where it listens and as whom."""

    port: int
    ae_title: str
    context: ssl.SSLContext | None = None


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
        sock.sendall(wire.request(target.ae_title, SENDER))
        kind, body = wire.answer(sock)
        if kind != wire.ACCEPT:
            raise ConnectionError(f"the receiver refused the association: {body.hex()}")
        message = wire.store(_instance_uid(name), _film(num_bytes, name), wire.largest_pdu(body))
        places = _places(message)
        ms, num_refused = [], 0
        ready.wait()
        for number in range(num_objects):
            for at in places:
                message[at : at + _DIGITS] = f"{10 ** (_DIGITS - 1) + number}".encode()
            started = time.perf_counter()
            sock.sendall(message)
            _, answer = wire.answer(sock)
            ms.append((time.perf_counter() - started) * 1000)
            num_refused += wire.status_of(answer) != 0
        sock.sendall(wire.RELEASE)
        wire.answer(sock)
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
    request = wire.request(target.ae_title, SENDER, [wire.VERIFICATION])
    steps = ((request, wire.ACCEPT), (wire.ECHO, wire.P_DATA), (wire.RELEASE, wire.RELEASED))
    started, num_done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        with _connect(target) as sock:
            for asked, expected in steps:
                sock.sendall(asked)
                kind, _ = wire.answer(sock)
                if kind != expected:
                    raise ConnectionError("the receiver refused the association or the echo")
        num_done += 1
    return num_done / (time.perf_counter() - started)
