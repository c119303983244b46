"""MLLP against a receiver that validates, and against some that misbehave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.carrier import Parcel
from node.config_outputs import Hl7Settings
from node.errors import PeerError
from node.hl7 import build_oru
from node.mllp import MllpCarrier, control_id_of, read_acknowledgement
from node.records import Delivery, DeliveryStatus
from tests.films import phantom
from tests.node.outputs_made import told
from tests.receivers import Mllp, free_port, rude, running

HEAD = b"MSH|^~\\&|RIS\r"
PARKED, PENDING, SENT = DeliveryStatus.PARKED, DeliveryStatus.PENDING, DeliveryStatus.SENT


def parcel(name: str = "hl7") -> Parcel:
    source = phantom(name, PatientName="Doe^Jane")
    made = build_oru(*told(source), Hl7Settings(host="h"), "18748-4")
    item = Delivery(made.uid, "", "1", 1, "hl7", "hl7", "p", 0, 1e6, "")
    return Parcel(item, made.content, None)


def carrier(port: int, timeout_s: float = 5.0) -> MllpCarrier:
    return MllpCarrier(Hl7Settings(host="127.0.0.1", port=port, timeout_s=timeout_s))


@pytest.fixture
def receiver() -> Iterator[Mllp]:
    with running(Mllp()) as started:
        yield started


def test_messages_arrive_whole_and_are_acknowledged(receiver: Mllp) -> None:
    parcels = [parcel("a"), parcel("b")]
    replies = list(carrier(receiver.port).carry(parcels))
    assert [reply.status for reply in replies] == [SENT, SENT]
    assert receiver.received == [one.content.decode() for one in parcels]


@pytest.mark.parametrize(
    ("code", "status"), [("AE", PENDING), ("CE", PENDING), ("AR", PARKED), ("CR", PARKED)]
)
def test_each_refusal_has_its_consequence_and_quotes_nobody(
    receiver: Mllp, code: str, status: DeliveryStatus
) -> None:
    receiver.codes = [code]
    (reply,) = carrier(receiver.port).carry([parcel()])
    assert reply.status is status
    assert reply.reason == f"acknowledged {code}"


def test_a_receiver_that_is_not_there_is_named() -> None:
    port = free_port()
    with pytest.raises(PeerError, match=f"cannot connect to 127.0.0.1:{port}"):
        list(carrier(port).carry([parcel()]))


def _silent(sock: socket.socket) -> None:
    sock.recv(65_536)
    time.sleep(0.5)


def _closes_mid_answer(sock: socket.socket) -> None:
    sock.recv(65_536)
    sock.sendall(b"\x0b" + HEAD + b"MSA|A")


def _talks_without_end(sock: socket.socket) -> None:
    sock.recv(65_536)
    try:
        for _ in range(100):
            sock.sendall(b"x" * 4096)
    except OSError:
        return


def _trickles(sock: socket.socket) -> None:
    sock.recv(65_536)
    try:
        for _ in range(20):
            sock.sendall(b"x")
            time.sleep(0.05)
    except OSError:
        return


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (_silent, "in time"),
        (_trickles, "in time"),
        (_closes_mid_answer, "without an acknowledgement"),
        (_talks_without_end, "without an acknowledgement"),
    ],
)
def test_a_receiver_that_misbehaves_is_tried_again(
    behave: Callable[[socket.socket], None], reason: str
) -> None:
    started = time.monotonic()
    with rude(behave) as port, pytest.raises(PeerError, match=reason):
        list(carrier(port, timeout_s=0.3).carry([parcel()]))
    assert time.monotonic() - started < 5


def test_an_answer_in_pieces_is_put_together() -> None:
    one = parcel()
    control = control_id_of(one.content).encode()

    def answer_slowly(sock: socket.socket) -> None:
        sock.recv(65_536)
        for byte in b"\x0b" + HEAD + b"MSA|AA|" + control + b"\r\x1c\r":
            sock.sendall(bytes([byte]))

    with rude(answer_slowly) as port:
        (reply,) = carrier(port).carry([one])
    assert reply.status is SENT


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (HEAD + b"MSA|AA|7", SENT),
        (HEAD + b"MSA|CA|7|text", SENT),
        (HEAD + b"MSA|AA|8", PENDING),
        (HEAD + b"MSA|AA", PENDING),
        (HEAD + b"MSA|XX|7", PENDING),
        (HEAD, PENDING),
        (b"", PENDING),
    ],
)
def test_only_an_acknowledgement_of_this_message_counts(
    answer: bytes, status: DeliveryStatus
) -> None:
    assert read_acknowledgement(answer, "7").status is status


@given(st.binary(max_size=200))
def test_no_noise_is_taken_for_success(answer: bytes) -> None:
    if b"MSA|AA|7" not in answer and b"MSA|CA|7" not in answer:
        assert read_acknowledgement(answer, "7").status is not SENT


def test_a_probe_connects_and_leaves_nothing(receiver: Mllp) -> None:
    assert "takes connections" in carrier(receiver.port).probe()
    assert receiver.received == []
