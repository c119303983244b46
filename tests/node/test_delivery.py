"""Every answer of a PACS has its consequence, and nothing unmarked leaves."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from node.app import Node
from node.config_outputs import OutboxSettings
from node.delivery import verdict_on
from node.outbox import backoff_s
from node.records import Delivery, DeliveryStatus
from node.schema import output
from node.store_statuses import reply_to
from node.transactions import writing
from tests.films import phantom
from tests.node.conftest import (
    Pacs,
    associate,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]
RULE = OutboxSettings()
ITEM = Delivery("1", "1", "1", 1, "pacs", "report", "p", 0, 1_000_000.0, "")


def _deliveries(node: Node, ds: Any) -> list[dict[str, Any]]:
    return [row for made in node.journal.study(ds.StudyInstanceUID) for row in made["outputs"]]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, DeliveryStatus.SENT),
        (0xB000, DeliveryStatus.SENT),
        (0xB007, DeliveryStatus.SENT),
        (0x0110, DeliveryStatus.PENDING),
        (0xA700, DeliveryStatus.PENDING),
        (0xA900, DeliveryStatus.PARKED),
        (0xC000, DeliveryStatus.PARKED),
        (0x0122, DeliveryStatus.PARKED),
        (0xFFFF, DeliveryStatus.PARKED),
    ],
)
def test_each_class_of_status_has_one_consequence(status: int, expected: DeliveryStatus) -> None:
    assert verdict_on(reply_to(status), ITEM, 0.0, RULE).status is expected


@given(status=st.integers(0, 0xFFFF), attempts=st.integers(0, 500), now=st.floats(0, 2e6))
def test_no_status_is_sent_but_success_and_warnings(status: int, attempts: int, now: float) -> None:
    verdict = verdict_on(reply_to(status), replace(ITEM, attempts=attempts), now, RULE)
    if verdict.status is DeliveryStatus.SENT:
        assert status in (0x0000, 0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF
    if verdict.status is DeliveryStatus.PENDING:
        assert verdict.next_at is not None
        assert now < verdict.next_at <= ITEM.deadline_at


@given(
    attempts=st.integers(1, 10_000),
    initial=st.floats(0.1, 3600),
    factor=st.floats(1, 10),
    longest=st.floats(0.1, 86_400),
)
def test_the_wait_never_shrinks_nor_passes_its_ceiling(
    attempts: int, initial: float, factor: float, longest: float
) -> None:
    rule = OutboxSettings(retry_initial_s=initial, retry_factor=factor, retry_max_s=longest)
    wait, later = backoff_s(attempts, rule), backoff_s(attempts + 1, rule)
    assert 0 < wait <= longest * 1.000001
    assert later >= wait * 0.999999


def test_a_warning_is_delivered_and_recorded(start_node: Start, pacs: Pacs) -> None:
    pacs.status = 0xB000
    node, ds = start_node(), phantom("warned")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    (row,) = _deliveries(node, ds)
    assert (row["status"], row["status_code"]) == ("sent", 0xB000)
    assert "warning" in row["reason"]


def test_a_pacs_without_room_is_tried_until_it_has(start_node: Start, pacs: Pacs) -> None:
    pacs.status = 0xA700
    node, ds = start_node(), phantom("later")
    send(node, ds)
    wait_for(lambda: any(row["attempts"] >= 2 for row in _deliveries(node, ds)))
    assert study_state(node, ds) == ["DELIVERING"]
    pacs.status = 0x0000
    wait_for_state(node, ds, "DONE")
    assert len(pacs.received) == 1


@pytest.mark.parametrize("status", [0xA900, 0xC123])
def test_a_refusal_parks_the_object_with_its_reason(
    start_node: Start, pacs: Pacs, status: int
) -> None:
    pacs.status = status
    node, ds = start_node(), phantom(status)
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    (row,) = _deliveries(node, ds)
    assert (row["status"], row["attempts"]) == ("parked", 1)
    assert f"0x{status:04X}" in node.journal.study(ds.StudyInstanceUID)[0]["reason"]


def test_a_dead_pacs_is_tried_again_and_the_object_arrives_once(
    start_node: Start, pacs: Pacs
) -> None:
    pacs.stop()
    node, ds = start_node(), phantom("dead")
    send(node, ds)
    wait_for(lambda: any("cannot connect" in row["reason"] for row in _deliveries(node, ds)))
    pacs.start()
    wait_for_state(node, ds, "DONE")
    assert len(pacs.received) == 1


def test_a_pacs_that_takes_no_reports_is_named_so(start_node: Start, pacs: Pacs) -> None:
    pacs.stop()
    pacs.classes = ["1.2.840.10008.5.1.4.1.1.7"]
    pacs.start()
    node, ds = start_node(), phantom("classless")
    send(node, ds)
    wait_for(lambda: any("does not take" in row["reason"] for row in _deliveries(node, ds)))


def test_a_destination_is_given_up_after_its_time(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    pacs.stop()
    settings = settings_for(tmp_path / "r", pacs.port)
    outbox = OutboxSettings(retry_initial_s=0.1, give_up_after_h=1e-9)
    outputs = settings.outputs.model_copy(update={"outbox": outbox})
    node, ds = start_node(settings.model_copy(update={"outputs": outputs})), phantom("given up")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    assert "given up" in node.journal.study(ds.StudyInstanceUID)[0]["reason"]


def test_a_dead_peer_does_not_hold_up_another(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "r", pacs.port)
    dead = settings.peers["pacs"].model_copy(update={"port": 1})
    peers = {"pacs": settings.peers["pacs"], "dead": dead}
    node, ds = start_node(settings.model_copy(update={"peers": peers})), phantom("two")
    send(node, ds)
    wait_for(lambda: pacs.received)
    assert study_state(node, ds) == ["DELIVERING"]


def test_an_unmarked_synthetic_image_is_not_sent(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    pacs.stop()
    settings = settings_for(tmp_path / "r", pacs.port)
    peer = settings.peers["pacs"].model_copy(update={"send": ("synthetic",)})
    synthetic = settings.outputs.synthetic.model_copy(update={"enabled": True})
    outputs = settings.outputs.model_copy(update={"synthetic": synthetic})
    changes = {"peers": {"pacs": peer}, "outputs": outputs}
    node, ds = start_node(settings.model_copy(update=changes)), phantom("unmarked")
    send(node, ds)
    (path,) = wait_for(lambda: _synthetic_files(settings.node.storage.root))
    wait_for_state(node, ds, "DELIVERING")
    node.stop()
    made = dcmread(path)
    del made.SyntheticData
    aside = path.with_suffix(".aside")
    made.save_as(aside)
    digest = hashlib.sha256(aside.read_bytes()).hexdigest()
    with writing(node._database) as connection:
        mine = output.c.sop_instance_uid == made.SOPInstanceUID
        connection.execute(output.update().where(mine).values(sha256=digest))
    aside.replace(path)
    node = start_node(node.settings)
    wait_for_state(node, ds, "FAILED")
    assert "send guard" in node.journal.study(ds.StudyInstanceUID)[0]["reason"]
    pacs.start()
    time.sleep(1)  # longer than the longest wait between two attempts
    assert pacs.received == []


def test_an_object_whose_file_vanished_is_parked(start_node: Start, pacs: Pacs) -> None:
    pacs.stop()
    node, ds = start_node(), phantom("vanished")
    send(node, ds)
    wait_for_state(node, ds, "DELIVERING")
    for path in (node.settings.node.storage.root / "outputs").rglob("*.dcm"):
        path.unlink()
    wait_for_state(node, ds, "FAILED")
    assert "cannot be read" in node.journal.study(ds.StudyInstanceUID)[0]["reason"]


def test_a_damaged_file_is_parked_and_holds_nothing_else_up(start_node: Start, pacs: Pacs) -> None:
    pacs.stop()
    node, damaged, whole = start_node(), phantom("damaged"), phantom("whole")
    send(node, damaged)
    wait_for_state(node, damaged, "DELIVERING")
    node.stop()
    for path in (node.settings.node.storage.root / "outputs").rglob("*.dcm"):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"VERIFIED. ", b"MODIFIED. "))
        assert path.read_bytes() != content
    pacs.start()
    node = start_node(node.settings)
    send(node, whole)
    wait_for_state(node, whole, "DONE")
    wait_for_state(node, damaged, "FAILED")
    assert "not as it was made" in node.journal.study(damaged.StudyInstanceUID)[0]["reason"]
    assert [made.StudyInstanceUID for made in pacs.received] == [whole.StudyInstanceUID]


def _synthetic_files(root: Path) -> list[Path]:
    return [path for path in (root / "outputs").rglob("*.dcm") if dcmread(path).Modality == "OT"]


def test_a_peer_that_left_the_configuration_gets_nothing_more(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    pacs.stop()
    node, ds = start_node(), phantom("left")
    send(node, ds)
    wait_for(lambda: any(row["attempts"] for row in _deliveries(node, ds)))
    node.stop()
    renamed = {"other": node.settings.peers["pacs"]}
    again = start_node(node.settings.model_copy(update={"peers": renamed}))
    wait_for_state(again, ds, "FAILED")
    assert associate(again).is_established


def test_a_peer_that_is_sent_nothing_any_more_holds_no_study_open(
    start_node: Start, pacs: Pacs
) -> None:
    pacs.stop()
    node, ds = start_node(), phantom("no send")
    send(node, ds)
    wait_for(lambda: any(row["attempts"] for row in _deliveries(node, ds)))
    node.stop()
    silent = node.settings.peers["pacs"].model_copy(update={"send": ()})
    again = start_node(node.settings.model_copy(update={"peers": {"pacs": silent}}))
    wait_for_state(again, ds, "FAILED")
    assert "nothing is sent to pacs" in again.journal.study(ds.StudyInstanceUID)[0]["reason"]
