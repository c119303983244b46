"""Storage commitment as SCU: what a PACS was sent is done when the PACS has committed to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.dataset import Dataset

from node import statuses
from node.app import Node
from node.commitment import (
    SOP_CLASS,
    SOP_INSTANCE,
    CommitmentInvalid,
    Reference,
    Report,
    Transaction,
    report_from_ds,
    report_to_ds,
    request_from_ds,
    request_to_ds,
)
from node.config import PeerSettings, Settings
from tests.films import phantom
from tests.node.commitment_peers import CommittingPacs, calling
from tests.node.conftest import (
    free_port,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]
uids = st.from_regex(r"[1-9][0-9]{0,3}(\.[1-9][0-9]{0,8}){1,5}", fullmatch=True)
references = st.builds(Reference, uids, uids)


@pytest.fixture
def pacs() -> Iterator[CommittingPacs]:
    server = CommittingPacs(free_port())
    server.start()
    yield server
    server.stop()


def _settings(tmp_path: Path, pacs: CommittingPacs, **commitment: Any) -> Settings:
    settings = settings_for(tmp_path / "root", pacs.port)
    allow = ("echo", "store", "commitment")
    peer = settings.peers["pacs"].model_copy(update={"commitment": True, "allow": allow})
    wait = settings.outputs.commitment.model_copy(update={"wait_s": 1.0} | commitment)
    outputs = settings.outputs.model_copy(update={"commitment": wait})
    return settings.model_copy(update={"peers": {"pacs": peer}, "outputs": outputs})


def _timeline(node: Node, ds: Dataset) -> list[str]:
    return [step["name"] for step in node.journal.study(ds.StudyInstanceUID)[0]["timeline"]]


def _report(node: Node, report: Report, *, title: str = "PACS", event_type: int = 0) -> int:
    """Bring a report over a new association, in the SCP role; return the answer's status."""
    with calling(node, SOP_CLASS, title=title, is_scp=True) as assoc:
        status, _ = assoc.send_n_event_report(
            report_to_ds(report), event_type or report.event_type, SOP_CLASS, SOP_INSTANCE
        )
    return int(status.Status)


def _asked(pacs: CommittingPacs, number: int) -> Transaction:
    """Return a request once it has come."""
    wait_for(lambda: len(pacs.requests) >= number)
    return request_from_ds(pacs.requests[number - 1])


def test_a_report_over_the_same_association_ends_the_study(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("same")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert _timeline(node, ds)[-3:] == ["sent", "committed", "done"]
    (request,) = pacs.requests
    (reference,) = request_from_ds(request).references
    assert reference.sop_instance_uid == pacs.received[0].SOPInstanceUID
    wait_for(lambda: pacs.answers == [statuses.SUCCESS])


def test_a_report_over_a_new_association_ends_the_study(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reports = False
    node, ds = start_node(_settings(tmp_path, pacs, wait_s=0.1)), phantom("new")
    send(node, ds)
    transaction = _asked(pacs, 1)
    assert study_state(node, ds) == ["DELIVERING"]
    assert _report(node, Report(transaction.uid, transaction.references)) == statuses.SUCCESS
    assert study_state(node, ds) == ["DONE"]
    assert _report(node, Report(transaction.uid, transaction.references)) == 0, "twice"
    assert _timeline(node, ds).count("committed") == 1


def test_what_the_peer_has_not_kept_is_sent_again_with_the_same_bytes(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reasons = [statuses.NO_SUCH_INSTANCE]
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("again")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    first, second = pacs.received
    assert first == second
    assert _timeline(node, ds)[-5:] == ["sent", "resent", "sent", "committed", "done"]
    details = [step["detail"] for step in node.journal.study(ds.StudyInstanceUID)[0]["timeline"]]
    assert any("no such object instance (0x0112)" in detail for detail in details)


def test_what_a_peer_never_keeps_is_parked_with_its_reason(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reasons = [statuses.PROCESSING_FAILURE] * 9
    node, ds = start_node(_settings(tmp_path, pacs, max_resends=2)), phantom("never")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    assert len(pacs.received) == 3
    (row,) = node.journal.study(ds.StudyInstanceUID)[0]["outputs"]
    assert row["status"] == "parked"
    assert row["reason"] == ("not committed: processing failure (0x0110) after it was sent 3 times")


def test_a_transaction_that_the_peer_calls_a_duplicate_is_asked_anew(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reasons = [statuses.DUPLICATE_TRANSACTION]
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("duplicate")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert len(pacs.received) == 1
    first, second = map(request_from_ds, pacs.requests)
    assert first.uid != second.uid


def test_a_lost_report_is_asked_for_again_and_the_first_one_still_counts(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reports = False
    settings = _settings(tmp_path, pacs, wait_s=0.0, report_timeout_s=0.3)
    node, ds = start_node(settings), phantom("lost")
    send(node, ds)
    first, second = _asked(pacs, 1), _asked(pacs, 2)
    assert first.uid != second.uid
    assert first.references == second.references
    assert len(pacs.received) == 1, "asking again sends nothing again"
    stale = Report(first.uid, failed={first.references[0]: statuses.NO_SUCH_INSTANCE})
    assert _report(node, stale) == statuses.SUCCESS
    assert study_state(node, ds) == ["DELIVERING"], "an outdated failure counts for nothing"
    assert _report(node, Report(first.uid, first.references)) == statuses.SUCCESS
    assert study_state(node, ds) == ["DONE"]


def test_a_peer_that_does_not_take_the_request_is_asked_later(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.action_status = statuses.RESOURCE_LIMITATION
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("busy")
    send(node, ds)
    _asked(pacs, 2)
    pacs.action_status = statuses.SUCCESS
    wait_for_state(node, ds, "DONE")
    assert len(pacs.received) == 1


def test_a_peer_without_the_service_keeps_the_study_open_and_then_parks_it(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.stop()
    pacs.classes.remove(SOP_CLASS)
    pacs.start()
    settings = _settings(tmp_path, pacs)
    outbox = settings.outputs.outbox.model_copy(update={"give_up_after_h": 1 / 3600})
    outputs = settings.outputs.model_copy(update={"outbox": outbox})
    node, ds = start_node(settings.model_copy(update={"outputs": outputs})), phantom("without")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    assert "without a commitment" in node.journal.study(ds.StudyInstanceUID)[0]["reason"]


def test_a_node_that_was_down_when_the_report_came_asks_again(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reports = False
    settings = _settings(tmp_path, pacs, wait_s=0.0)
    node, ds = start_node(settings), phantom("down")
    send(node, ds)
    _asked(pacs, 1)
    node.stop()
    pacs.reports = True
    again = start_node(_settings(tmp_path, pacs))
    wait_for_state(again, ds, "DONE")


def test_a_peer_that_is_sent_nothing_any_more_still_answers_for_what_it_was_sent(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reports = False
    settings = _settings(tmp_path, pacs, wait_s=0.0)
    node, ds = start_node(settings), phantom("no send")
    send(node, ds)
    _asked(pacs, 1)
    node.stop()
    pacs.reports = True
    silent = settings.peers["pacs"].model_copy(update={"send": ()})
    settings = _settings(tmp_path, pacs)
    again = start_node(settings.model_copy(update={"peers": {"pacs": silent}}))
    wait_for_state(again, ds, "DONE")


def test_a_peer_that_is_no_longer_asked_ends_the_wait(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reports = False
    settings = _settings(tmp_path, pacs, wait_s=0.0)
    node, ds = start_node(settings), phantom("dropped")
    send(node, ds)
    _asked(pacs, 1)
    node.stop()
    peer = settings.peers["pacs"].model_copy(update={"commitment": False})
    again = start_node(settings.model_copy(update={"peers": {"pacs": peer}}))
    wait_for_state(again, ds, "DONE")


def test_reports_of_strangers_are_refused(
    start_node: Start, pacs: CommittingPacs, tmp_path: Path
) -> None:
    pacs.reports = False
    settings = _settings(tmp_path, pacs, wait_s=0.0)
    other = settings.peers["pacs"].model_copy(update={"ae_title": "OTHER", "send": ()})
    peers = {**settings.peers, "other": other}
    node, ds = start_node(settings.model_copy(update={"peers": peers})), phantom("strange")
    send(node, ds)
    transaction = _asked(pacs, 1)
    good = Report(transaction.uid, transaction.references)
    assert _report(node, good, title="OTHER") == statuses.INVALID_ARGUMENT
    assert _report(node, replace(good, transaction_uid="1.2.3")) == statuses.INVALID_ARGUMENT
    assert _report(node, replace(good, transaction_uid="")) == statuses.INVALID_ARGUMENT
    assert _report(node, good, event_type=7) == statuses.NO_SUCH_EVENT_TYPE
    assert study_state(node, ds) == ["DELIVERING"]


def test_a_peer_that_is_asked_must_be_let_in_to_answer() -> None:
    with pytest.raises(ValidationError, match="add commitment to its allow"):
        PeerSettings(ae_title="PACS", host="h", port=1, commitment=True)


@given(uid=uids, objects=st.lists(references, min_size=1, unique=True))
def test_a_request_is_read_as_it_was_written(uid: str, objects: list[Reference]) -> None:
    transaction = Transaction(uid, tuple(objects))
    assert request_from_ds(request_to_ds(transaction)) == transaction


@given(
    uid=uids,
    held=st.lists(references, unique=True),
    failed=st.dictionaries(references, st.integers(0, 0xFFFF)),
)
def test_a_report_is_read_as_it_was_written(
    uid: str, held: list[Reference], failed: dict[Reference, int]
) -> None:
    report = Report(uid, tuple(held), failed)
    assert report_from_ds(report_to_ds(report)) == report
    assert report.event_type == (2 if failed else 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"TransactionUID": None},
        {"TransactionUID": "not a uid"},
        {"TransactionUID": "1." + "2" * 63},
        {"ReferencedSOPSequence": []},
        {"ReferencedSOPSequence": [Dataset()]},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_request_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    ds = request_to_ds(Transaction("1.2", (Reference("1.2", "1.3"),)))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    with pytest.raises(CommitmentInvalid):
        request_from_ds(ds)
