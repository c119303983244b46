"""The front door: real associations on loopback, good and hostile."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from node.app import Node, PortTaken
from node.errors import NodeAlreadyRuns, StorageError
from node.spool import Spool
from node.transactions import writing
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, associate, send, settings_for, wait_for

Start = Callable[..., Node]


def _reasons(node: Node) -> list[str]:
    return [row["reason"] for row in node.journal.rejections()]


def _stored(node: Node) -> list[Path]:
    return list((node.settings.node.storage.root / "images").rglob("*.dcm"))


def test_an_echo_is_answered(start_node: Start) -> None:
    assoc = associate(start_node())
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("EVIL", "", (1, 1, 3)), ("PACS", "SOMEONE", (1, 1, 7))],
)
def test_an_unknown_title_is_rejected_with_its_reason(
    start_node: Start, calling: str, called: str, reason: tuple[int, int, int]
) -> None:
    node = start_node()
    assoc = associate(node, calling=calling, called=called)
    answer = assoc.acceptor.primitive
    assert assoc.is_rejected
    assert (answer.result, answer.result_source, answer.diagnostic) == reason
    assert node.journal.rejections()[0]["hint"]


def test_a_known_title_from_another_address_is_rejected(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "r", pacs.port)
    elsewhere = settings.peers["pacs"].model_copy(update={"cidr": ("10.0.0.0/8",)})
    node = start_node(settings.model_copy(update={"peers": {"pacs": elsewhere}}))
    assert associate(node).is_rejected
    assert node.journal.rejections()[0]["hint"] == "add 127.0.0.1 to `peers.pacs.cidr`"


def test_a_peer_that_may_only_echo_gets_no_storage_context(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "r", pacs.port)
    echoing = settings.peers["pacs"].model_copy(update={"allow": ("echo",)})
    node = start_node(settings.model_copy(update={"peers": {"pacs": echoing}}))
    assoc = associate(node)
    assert [context.abstract_syntax for context in assoc.accepted_contexts] == ["1.2.840.10008.1.1"]
    assoc.release()


def test_other_classes_and_deflated_images_get_no_context(start_node: Start) -> None:
    node = start_node()
    ae = AE("PACS")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.1", DeflatedExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", node.settings.node.port, ae_title="CXRDRAFT")
    assert [context.result for context in assoc.rejected_contexts] == [3, 4]
    assoc.abort()


def test_an_acknowledged_image_is_on_disk_byte_for_byte(start_node: Start) -> None:
    node, ds = start_node(), phantom("kept")
    assert send(node, ds) == [0x0000]
    (path,) = _stored(node)
    kept = dcmread(path)
    assert kept.PixelData == ds.PixelData
    assert kept.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
    assert ds.SOPInstanceUID not in str(path)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_are_kept_as_they_came(start_node: Start, syntax: UID) -> None:
    node, ds = start_node(), phantom(syntax)
    if not syntax.is_little_endian:
        ds.PixelData = b"".join(
            bytes(pair) for pair in zip(ds.PixelData[1::2], ds.PixelData[::2], strict=True)
        )
    ds.file_meta.TransferSyntaxUID = syntax
    ds._read_implicit, ds._read_little = syntax.is_implicit_VR, syntax.is_little_endian
    assert send(node, ds) == [0x0000]
    assert dcmread(_stored(node)[0]).file_meta.TransferSyntaxUID == syntax


def test_the_same_image_again_is_a_success_and_stored_once(start_node: Start) -> None:
    node, ds = start_node(), phantom("again")
    assert send(node, ds, ds) == [0x0000, 0x0000]
    assert len(_stored(node)) == 1


@pytest.mark.parametrize(("policy", "status"), [("refuse", 0xA900), ("warn", 0xB000)])
def test_other_bytes_under_the_same_uid_leave_the_first(
    start_node: Start, policy: str, status: int
) -> None:
    node = start_node(intake={"on_conflict": policy})
    first, second = phantom("x"), phantom("x", ViewPosition="AP")
    assert send(node, first, second) == [0x0000, status]
    assert dcmread(_stored(node)[0]).ViewPosition == "PA"
    assert "other content" in _reasons(node)[0]


def test_another_object_than_announced_is_refused(start_node: Start) -> None:
    node, ds = start_node(), phantom("lie")
    assoc = associate(node)
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = ds.SOPClassUID
    request.AffectedSOPInstanceUID = "1.2.3"
    request.Priority = 0
    assert _send_raw(assoc, request, _encode(ds)) == 0xA900
    assoc.release()
    assert _stored(node) == []


def _encode(ds: Any) -> bytes:
    encoded = encode(ds, False, True)
    assert encoded is not None
    return encoded


def _send_raw(assoc: Any, request: C_STORE, encoded: bytes) -> int | None:
    """Send a C-STORE whose data set is given as bytes."""
    request.DataSet = BytesIO(encoded)
    context = assoc._get_valid_context(
        request.AffectedSOPClassUID, "1.2.840.10008.1.2.1", "scu", allow_conversion=False
    )
    assoc._reactor_checkpoint.clear()
    while not assoc._is_paused:
        time.sleep(0.001)
    assoc.dimse.send_msg(request, context.context_id)
    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return answer.Status if answer else None


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_truncated_image_is_never_acknowledged(start_node: Start, part: float) -> None:
    node, ds = start_node(), phantom("cut")
    assoc = associate(node)
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = ds.SOPClassUID
    request.AffectedSOPInstanceUID = ds.SOPInstanceUID
    request.Priority = 0
    encoded = _encode(ds)
    status = _send_raw(assoc, request, encoded[: int(len(encoded) * part)])
    assoc.release()
    assert status == 0xC000
    assert _stored(node) == []


def test_a_synthetic_film_is_refused_with_a_reason(start_node: Start) -> None:
    node = start_node()
    assert send(node, phantom("s", SyntheticData="YES")) == [0xA900]
    assert "not an image to report on" in _reasons(node)[0]


def test_a_full_disk_refuses_images_and_still_echoes(start_node: Start) -> None:
    node = start_node()
    full = node.settings.node.storage.model_copy(update={"free_min_gb": 1e9})
    node._spool._settings = full
    assoc = associate(node)
    assert assoc.send_c_store(phantom("full")).Status == 0xA700
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    assert "watermark" in _reasons(node)[0]


def test_a_disk_or_ledger_that_fails_answers_out_of_resources(
    start_node: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_node()

    def broken(*_: object) -> str:
        raise StorageError("the disk refused: Input/output error")

    monkeypatch.setattr(Spool, "keep_image", broken)
    assert send(node, phantom("io")) == [0xA700]
    monkeypatch.undo()
    with writing(node._database) as connection:
        connection.exec_driver_sql("DROP TABLE instance")
    assert send(node, phantom("db")) == [0xA700]


def test_an_object_beyond_the_limit_is_aborted_while_it_comes_in(start_node: Start) -> None:
    node = start_node(intake={"max_object_mb": 1})
    assoc = associate(node)
    sent = assoc.send_c_store(phantom("big", size=1200))
    assert "Status" not in sent
    assert any("larger than 1 MB" in reason for reason in _reasons(node))
    assert send(node, phantom("small")) == [0x0000]


def test_associations_are_limited_and_the_room_comes_back(start_node: Start) -> None:
    node = start_node(max_associations_per_ip=2)
    held = [associate(node) for _ in range(2)]
    refused = associate(node)
    assert refused.acceptor.primitive.result_source == 3
    held[0].release()
    wait_for(lambda: (assoc := associate(node)).is_established and (assoc.release() or True))
    held[1].release()


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF),
        struct.pack(">BBL", 4, 0, 0xFFFFFFFF) + b"\0" * 100,
        struct.pack(">BBL", 4, 0, 10) + b"\0" * 10,
        b"\x01\x00\x00",
        b"\xff" * 1000,
    ],
    ids=["http", "huge request", "huge data", "data first", "short", "noise"],
)
def test_junk_neither_crashes_nor_locks_out(start_node: Start, junk: bytes) -> None:
    node = start_node(acse_timeout_s=0.5)
    port = node.settings.node.port
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
    for sock in sockets:
        sock.sendall(junk)
    assert send(node, phantom("good")) == [0x0000]
    for sock in sockets:
        sock.settimeout(5)
        assert _ends(sock)
        sock.close()


def _ends(sock: socket.socket) -> bool:
    """Tell whether the other side closes a connection, with or without an abort."""
    try:
        while sock.recv(1024):
            pass
    except ConnectionError:
        return True
    return True


def test_an_abort_in_the_middle_leaves_no_file_and_one_line(start_node: Start) -> None:
    node = start_node()
    port = node.settings.node.port
    ae = AE("PACS")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.1")
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRDRAFT")
    sock = assoc.dul.socket
    assert sock is not None
    sock.send(struct.pack(">BBL", 4, 0, 1000) + b"\0" * 500)
    sock.close()
    wait_for(lambda: not node._scp.open_study_uids() and not node._scp.num_connections())
    assert _stored(node) == []
    assert send(node, phantom("after")) == [0x0000]


def test_a_system_without_threads_costs_a_caller_and_not_the_listener(
    start_node: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_node()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        sock = socket.create_connection(("127.0.0.1", node.settings.node.port))
        patched.setattr(threading.Thread, "start", refuse)
        sock.sendall(b"x")
        sock.settimeout(5)
        assert _ends(sock)
        sock.close()
    assert send(node, phantom("after")) == [0x0000]


def test_the_study_of_an_open_association_stays_open(start_node: Start) -> None:
    node, ds = start_node(), phantom("open")
    assoc = associate(node)
    assert assoc.send_c_store(ds).Status == 0
    assert node._scp.open_study_uids() == {ds.StudyInstanceUID}
    assoc.release()
    wait_for(lambda: not node._scp.open_study_uids())


def test_many_senders_at_once_are_all_served(start_node: Start) -> None:
    node = start_node(max_associations=20, max_associations_per_ip=20)
    statuses: list[int | None] = []

    def run(number: int) -> None:
        statuses.extend(send(node, *(phantom(f"{number}.{i}") for i in range(3))))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [0x0000] * 18
    assert len(_stored(node)) == 18


def test_a_taken_port_is_one_clear_error(start_node: Start, pacs: Pacs, tmp_path: Path) -> None:
    node = Node(settings_for(tmp_path / "other", pacs.port, port=pacs.port), FakeEngine())
    with pytest.raises(PortTaken, match="Address already in use"):
        node.start()
    node.stop()


def test_a_second_node_on_the_same_storage_is_refused(start_node: Start) -> None:
    node = start_node()
    with pytest.raises(NodeAlreadyRuns):
        Node(node.settings, FakeEngine())
