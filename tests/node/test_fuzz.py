"""Hostile bytes: recordings of real senders and messages of our own, spoiled in a hundred ways.

Every case is one association over a real socket, with the real spool and ledger behind it. Whatever
comes, the association ends, in time and without an error of ours; its place is given back; and what
was acknowledged is on disk as it was sent. CXR_FUZZ_CASES sets the number of cases (a night takes a
few million), CXR_TEST_SEED repeats a run.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import encode

from node.admission import Admission
from node.association import Association, House
from node.channel import Channel
from node.config import IntakeSettings, NodeSettings, PeerSettings, StorageSettings
from node.database import open_ledger, sqlite_url
from node.file_meta import file_meta
from node.journal import Journal
from node.ledger import Ledger
from node.meters import NO_METERS
from node.negotiation import offers_of
from node.peers import PeerBook
from node.receiver import Receiver
from node.refusals import Refusals
from node.schema import instance
from node.server import Connection
from node.services import Answer, Operation, Request, Service
from node.spool import Spool
from node.transactions import reading
from tests import wire
from tests.fakes import ManualClock
from tests.films import phantom

# a node ignores the warnings of its libraries, which quote what they warn of
pytestmark = pytest.mark.filterwarnings("ignore")

CORPUS = Path(__file__).parent / "corpus"
NUM_CASES = int(os.environ.get("CXR_FUZZ_CASES", "100000"))
COMMITMENT = "1.2.840.10008.1.20.1"
_LONGEST_S = 5.0
_LENGTHS = (0, 1, 2, 3, 0x7F, 0xFF, 0x100, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)

Pdus = list[bytes]
Spoil = Callable[[random.Random, Pdus], Pdus]


def _split(stream: bytes) -> Pdus:
    """Cut a recording into its PDUs."""
    pdus, at = [], 0
    while at < len(stream):
        (length,) = struct.unpack_from(">L", stream, at + 2)
        pdus.append(stream[at : at + 6 + length])
        at += 6 + length
    return pdus


def _own(name: str) -> Pdus:
    """Return an association that echoes, stores, asks for commitment and releases."""
    ds = phantom(name, size=8)
    encoded = encode(ds, False, True)
    assert encoded is not None
    action = wire.command(COMMITMENT, 0x0130, sop_instance_uid="1.2.3", has_data_set=True)
    stream = (
        wire.request("CXRDRAFT", "PACS", [wire.CR, wire.VERIFICATION, COMMITMENT])
        + wire.p_data(3, wire.command(wire.VERIFICATION, 0x30), 3)
        + bytes(wire.store(ds.SOPInstanceUID, encoded, largest=300))
        + wire.p_data(3, action, 5)
        + wire.p_data(2, encoded[:60], 5)
        + wire.RELEASE
    )
    return _split(stream)


def _any(chance: random.Random, pdus: Pdus) -> int:
    """Return the number of a PDU that still has a body to spoil, if any has."""
    whole = [number for number, pdu in enumerate(pdus) if len(pdu) > 6]
    return chance.choice(whole or range(len(pdus)))


def _flip(chance: random.Random, pdus: Pdus) -> Pdus:
    """Change a few bytes of a PDU."""
    number = _any(chance, pdus)
    spoiled = bytearray(pdus[number])
    for _ in range(chance.choice((1, 1, 2, 8))):
        spoiled[chance.randrange(len(spoiled))] = chance.choice(
            (0, 1, 2, 0x7F, 0xFF, chance.randrange(256))
        )
    return [*pdus[:number], bytes(spoiled), *pdus[number + 1 :]]


def _lie(chance: random.Random, pdus: Pdus) -> Pdus:
    """Put a length where one may stand: of a PDU, an item, a fragment or an element."""
    number = _any(chance, pdus)
    spoiled = bytearray(pdus[number])
    kind = chance.choice((">L", ">H", "<L", "<H"))
    length = chance.choice(_LENGTHS) & (0xFFFFFFFF if kind[1] == "L" else 0xFFFF)
    at = 2 if chance.random() < 0.2 else chance.randrange(max(len(spoiled) - 4, 1))
    if at + struct.calcsize(kind) <= len(spoiled):
        struct.pack_into(kind, spoiled, at, length)
    return [*pdus[:number], bytes(spoiled), *pdus[number + 1 :]]


def _mend(pdu: bytes) -> bytes:
    """Let a PDU's header say how long it is, so that the damage inside is reached."""
    return pdu[:2] + struct.pack(">L", max(len(pdu) - 6, 0)) + pdu[6:]


def _cut(chance: random.Random, pdus: Pdus) -> Pdus:
    """Shorten a PDU, with its header right or wrong."""
    number = _any(chance, pdus)
    short = pdus[number][: chance.randrange(len(pdus[number]))]
    mended = _mend(short) if len(short) >= 6 and chance.random() < 0.7 else short
    return [*pdus[:number], mended, *pdus[number + 1 :]]


def _stuff(chance: random.Random, pdus: Pdus) -> Pdus:
    """Put random bytes into a PDU and let its header count them."""
    number = _any(chance, pdus)
    pdu, at = pdus[number], chance.randrange(6, len(pdus[number]) + 1)
    stuffed = _mend(pdu[:at] + chance.randbytes(chance.randrange(1, 40)) + pdu[at:])
    return [*pdus[:number], stuffed, *pdus[number + 1 :]]


def _drop(chance: random.Random, pdus: Pdus) -> Pdus:
    number = _any(chance, pdus)
    return [*pdus[:number], *pdus[number + 1 :]] or pdus


def _repeat(chance: random.Random, pdus: Pdus) -> Pdus:
    number = _any(chance, pdus)
    return [*pdus[:number], *[pdus[number]] * chance.choice((2, 3, 20)), *pdus[number + 1 :]]


def _swap(chance: random.Random, pdus: Pdus) -> Pdus:
    shuffled = list(pdus)
    one, other = _any(chance, pdus), _any(chance, pdus)
    shuffled[one], shuffled[other] = shuffled[other], shuffled[one]
    return shuffled


def _invent(chance: random.Random, pdus: Pdus) -> Pdus:
    """Insert a PDU of any type."""
    number = _any(chance, pdus)
    made = wire.pdu(chance.randrange(10), chance.randbytes(chance.choice((0, 4, 10, 70, 200))))
    return [*pdus[:number], made, *pdus[number:]]


SPOILS: Sequence[Spoil] = (_flip, _flip, _lie, _lie, _cut, _stuff, _drop, _repeat, _swap, _invent)


def spoil(bases: Sequence[Pdus], seed: int) -> bytes:
    """Return a recording with one to four things wrong with it."""
    chance = random.Random(seed)
    pdus = list(chance.choice(bases))
    for _ in range(chance.choice((1, 1, 2, 4))):
        if not any(len(pdu) > 6 for pdu in pdus):
            break
        pdus = chance.choice(SPOILS)(chance, pdus)
    return b"".join(pdus)


@dataclass
class Range:
    """A listener without its listening: associations over socket pairs."""

    house: House
    spool: Spool
    ledger: Ledger

    def shoot(self, stream: bytes) -> bytes:
        """Play a stream to an association, hang up, and return what was answered."""
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
            theirs.settimeout(_LONGEST_S)
            theirs.sendall(stream)
            theirs.shutdown(socket.SHUT_WR)
            started = time.monotonic()
            Association(self.house, Channel(ours), Connection(ours, "127.0.0.1")).run()
            ours.close()
            assert time.monotonic() - started < _LONGEST_S, "it hangs"
            assert self.house.admission.num_open() == 0, "a place was not given back"
            answers = b""
            with suppress(ConnectionError):  # it hangs up on what it has not read
                while piece := theirs.recv(65_536):
                    answers += piece
        return answers


@pytest.fixture
def shooting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Range:
    """Return a range whose disk is not waited for: a hundred thousand cases would wait an hour."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(logging.getLogger("cxr_node"), "propagate", False)
    monkeypatch.setattr("node.channel.no_delay", lambda _sock: None)
    monkeypatch.setattr("node.channel.hurry", lambda _sock: None)
    spool = Spool(StorageSettings(root=tmp_path, free_min_gb=0, free_min_percent=0))
    spool.prepare()
    database = open_ledger(sqlite_url(spool.root / "ledger.sqlite"))
    chosen = NodeSettings(acse_timeout_s=1, dimse_timeout_s=1, idle_timeout_s=1)
    pacs = PeerSettings(ae_title="PACS", host="127.0.0.1", port=1)
    peers = PeerBook({"pacs": pacs.model_copy(update={"allow": ("echo", "store", "commitment")})})
    clock, ledger = ManualClock(), Ledger(database)

    def serve(request: Request) -> Answer:
        return Answer(0x0000 if "StudyInstanceUID" in request.ds else 0x0110, "no")

    service = Service(COMMITMENT, "commitment", frozenset({Operation.ACTION}), serve)
    house = House(
        chosen,
        Admission(chosen, peers),
        Receiver(IntakeSettings(), spool, ledger, clock),
        Refusals(peers, Journal(database), clock),
        offers_of([service]),
        {(COMMITMENT, Operation.ACTION): service},
        NO_METERS,
    )
    return Range(house, spool, ledger)


@pytest.fixture(scope="module")
def bases() -> list[Pdus]:
    recorded = [_split(path.read_bytes()) for path in sorted(CORPUS.glob("*.bin"))]
    assert len(recorded) == 3
    return [*recorded, *(_own(f"fuzz {number}") for number in range(3))]


def _check_kept(shooting: Range) -> int:
    """Check that every instance in the ledger is on disk as it was hashed; return their number."""
    with reading(shooting.ledger._engine) as connection:
        rows = connection.execute(sa.select(instance)).all()
    for row in rows:
        content = shooting.spool.path(row.path).read_bytes()
        syntax = row.transfer_syntax_uid
        body = content[len(file_meta(row.sop_class_uid, row.sop_instance_uid, syntax)) :]
        assert blake3(syntax.encode() + body).hexdigest() == row.content_digest
    assert not list((shooting.spool.root / "incoming").iterdir()), "a file is left half-written"
    return len(rows)


def test_the_recordings_themselves_are_served(shooting: Range, bases: list[Pdus]) -> None:
    for pdus in bases:
        kinds = {pdu[0] for pdu in _split(shooting.shoot(b"".join(pdus)))}
        assert {2, 4, 6} <= kinds, "accepted, answered, released"
        assert 7 not in kinds
    assert _check_kept(shooting) == 6


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_spoiled_recordings_crash_nothing_and_hang_nothing(
    shooting: Range, bases: list[Pdus]
) -> None:
    start = int(os.environ.get("CXR_TEST_SEED", random.SystemRandom().randrange(10**9)))
    print(f"seed: {start} (set CXR_TEST_SEED to repeat)")
    for seed in range(start, start + NUM_CASES):
        try:
            shooting.shoot(spoil(bases, seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
    print(f"{NUM_CASES} cases, {_check_kept(shooting)} instances kept")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_fragments_of_anything_after_a_good_request_end_in_an_answer(
    shooting: Range, contents: list[bytes]
) -> None:
    """Hypothesis looks for the shortest bad content; the framing is right."""
    stream = wire.request("CXRDRAFT", "PACS", [wire.CR, wire.VERIFICATION])
    for number, content in enumerate(contents):
        stream += wire.p_data((3, 0, 2)[number % 3], content)
    answers = _split(shooting.shoot(stream))
    assert answers[0][0] == wire.ACCEPT
