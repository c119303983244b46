"""What a person does with a study happens once, is noted, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from sqlalchemy.engine import Engine

from node.app import Node
from node.database import open_ledger
from node.errors import UnknownName
from node.journal import Journal
from node.ledger import Ledger
from node.operations import OperationRefused, Operations
from node.studies import Closing, State
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, send, settings_for, wait_for, wait_for_state
from tests.node.test_ledger import ARRIVAL

Start = Callable[..., Node]


def _operations(node: Node) -> Operations:
    return Operations(node._database, 3600.0)


def _latest(node: Node, ds: Dataset) -> dict[str, object]:
    newest: dict[str, object] = node.journal.study(ds.StudyInstanceUID)[-1]
    return newest


def _drafted(start_node: Start, root: Path, pacs: Pacs, seed: str) -> tuple[Node, Dataset]:
    node, ds = start_node(settings_for(root, pacs.port)), phantom(seed)
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    return node, ds


def test_what_arrived_is_sent_again(start_node: Start, tmp_path: Path, pacs: Pacs) -> None:
    node, ds = _drafted(start_node, tmp_path, pacs, "again")
    before = len(pacs.received)
    assert _operations(node).resend(ds.StudyInstanceUID, "admin", 1.0) == before
    wait_for(lambda: len(pacs.received) == 2 * before)
    wait_for_state(node, ds, "DONE")
    uids = [one.SOPInstanceUID for one in pacs.received]
    assert uids[:before] == uids[before:]
    names = [step["name"] for step in node.journal.study(ds.StudyInstanceUID)[0]["timeline"]]
    assert "put back" in names


def test_nothing_is_sent_again_where_nothing_went(
    start_node: Start, tmp_path: Path, pacs: Pacs
) -> None:
    node, ds = _drafted(start_node, tmp_path, pacs, "nowhere")
    operations = _operations(node)
    with pytest.raises(OperationRefused, match="nothing to send again to archive"):
        operations.resend(ds.StudyInstanceUID, "admin", 1.0, "archive")
    with pytest.raises(UnknownName):
        operations.resend("1.2.3", "admin", 1.0)
    with pytest.raises(OperationRefused, match="nothing of the study failed"):
        operations.retry(ds.StudyInstanceUID, "admin", 1.0)
    with pytest.raises(OperationRefused, match="nothing to cancel"):
        operations.cancel(ds.StudyInstanceUID, "admin", 1.0)
    with pytest.raises(OperationRefused, match="nothing of the study waits"):
        operations.prioritise(ds.StudyInstanceUID, "admin", 1.0)


def test_a_failed_draft_is_drafted_again(
    start_node: Start, tmp_path: Path, pacs: Pacs, engine: FakeEngine
) -> None:
    node, ds = start_node(settings_for(tmp_path, pacs.port)), phantom("failing")
    engine.fails = True
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    engine.fails = False
    said = _operations(node).retry(ds.StudyInstanceUID, "admin", time.time())
    assert said == "generation 2 is ready to be drafted"
    wait_for(lambda: _latest(node, ds)["state"] == "DONE")


def test_parked_deliveries_are_tried_again(start_node: Start, tmp_path: Path, pacs: Pacs) -> None:
    node, ds = start_node(settings_for(tmp_path, pacs.port)), phantom("parked")
    pacs.status = 0xC000
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    pacs.status = 0x0000
    said = _operations(node).retry(ds.StudyInstanceUID, "admin", time.time())
    assert "tried again" in said
    wait_for_state(node, ds, "DONE")
    assert _latest(node, ds)["generation"] == 1


@pytest.fixture
def ledger(url: sa.URL) -> Iterator[Engine]:
    engine = open_ledger(url)
    yield engine
    engine.dispose()


def _arrive(ledger: Ledger, study_uid: str, now: float) -> None:
    one = replace(ARRIVAL, study_uid=study_uid, sop_instance_uid=f"{study_uid}.1")
    ledger.record_arrival(one, now)


def _close(ledger: Ledger, now: float) -> None:
    for receiving in ledger.receiving():
        assert ledger.close(Closing(receiving, State.READY, ""), now)


def test_a_study_that_is_hurried_goes_first(ledger: Engine) -> None:
    book, operations = Ledger(ledger), Operations(ledger, 60.0)
    for number, study_uid in enumerate(("1.1", "1.2", "1.3")):
        _arrive(book, study_uid, float(number))
        _close(book, 10.0 + number)
    operations.prioritise("1.3", "admin", 20.0)
    claims = [book.claim("w", 30.0, lease_s=60, max_attempts=3) for _ in range(3)]
    assert [(one.study_uid, one.is_stat) for one in claims if one] == [
        ("1.3", True),
        ("1.1", False),
        ("1.2", False),
    ]


def test_a_study_given_up_before_its_draft_is_skipped_and_says_by_whom(ledger: Engine) -> None:
    book, operations = Ledger(ledger), Operations(ledger, 60.0)
    _arrive(book, "1.1", 0.0)
    assert operations.cancel("1.1", "admin", 1.0) is State.SKIPPED
    shown = Journal(ledger).study("1.1")[0]
    assert (shown["state"], shown["reason"]) == ("SKIPPED", "cancelled by admin")
    assert book.claim("w", 30.0, lease_s=60, max_attempts=3) is None
    _arrive(book, "1.1.5", 2.0)


def test_a_study_given_up_under_its_worker_leaves_no_draft(ledger: Engine) -> None:
    book, operations = Ledger(ledger), Operations(ledger, 60.0)
    _arrive(book, "1.1", 0.0)
    _close(book, 1.0)
    claim = book.claim("w", 2.0, lease_s=60, max_attempts=3)
    assert claim is not None
    assert operations.cancel("1.1", "admin", 3.0) is State.SKIPPED
    assert book.end(claim, State.FAILED, "too late", 4.0) is False


def test_what_is_on_its_way_may_arrive_after_a_study_was_given_up(
    start_node: Start, tmp_path: Path, pacs: Pacs
) -> None:
    node, ds = start_node(settings_for(tmp_path, pacs.port)), phantom("late word")
    pacs.status = 0xA700
    send(node, ds)
    wait_for(lambda: _latest(node, ds)["state"] == "DELIVERING")
    assert _operations(node).cancel(ds.StudyInstanceUID, "admin", 1.0) is State.FAILED
    assert "cancelled by admin" in str(_latest(node, ds)["reason"])
