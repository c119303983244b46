"""Storage commitment as SCP: what a sender is told is what ledger and spool really hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from node import statuses
from node.app import Node
from node.commitment import (
    SOP_CLASS,
    SOP_INSTANCE,
    Reference,
    Report,
    Transaction,
    report_from_ds,
    request_to_ds,
)
from node.config import Settings
from node.custody import is_whole
from node.schema import custody
from node.transactions import reading
from tests.films import CR, phantom
from tests.node.commitment_peers import calling
from tests.node.conftest import Pacs, free_port, send, settings_for, wait_for

Start = Callable[..., Node]


class ReportedPacs(Pacs):
    """A PACS that takes reports over associations of ours."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.handlers = [(evt.EVT_N_EVENT_REPORT, self._on_n_event_report)]
        self.roles = {SOP_CLASS: (True, True)}
        self.report_status = 0x0000
        self.reports: list[Report] = []
        self.event_types: list[int] = []

    def _on_n_event_report(self, event: Event) -> tuple[int, None]:
        self.reports.append(report_from_ds(event.event_information))
        self.event_types.append(event.event_type)
        return self.report_status, None


@pytest.fixture
def pacs() -> Iterator[ReportedPacs]:
    server = ReportedPacs(free_port())
    server.start()
    yield server
    server.stop()


def _settings(tmp_path: Path, pacs: Pacs) -> Settings:
    settings = settings_for(tmp_path / "root", pacs.port)
    allow = ("echo", "store", "commitment")
    peer = settings.peers["pacs"].model_copy(update={"allow": allow})
    return settings.model_copy(update={"peers": {"pacs": peer}})


def _ask(node: Node, transaction: Transaction, **changes: Any) -> int:
    """Ask a node to commit; return the status of its answer."""
    values = {
        "dataset": request_to_ds(transaction),
        "action_type": 1,
        "class_uid": SOP_CLASS,
        "instance_uid": SOP_INSTANCE,
    }
    with calling(node, SOP_CLASS) as assoc:
        status, _ = assoc.send_n_action(**(values | changes))
    return int(status.Status)


def _only_a_transaction() -> Dataset:
    ds = Dataset()
    ds.TransactionUID = "1.2.3"
    return ds


def _reference(ds: Dataset) -> Reference:
    return Reference(ds.SOPClassUID, ds.SOPInstanceUID)


def test_a_sender_is_told_that_its_images_are_held(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("held")
    send(node, ds)
    assert _ask(node, Transaction("1.2.3", (_reference(ds),))) == statuses.SUCCESS
    (report,) = wait_for(lambda: pacs.reports)
    assert report == Report("1.2.3", (_reference(ds),))
    assert pacs.event_types == [1]


def test_what_is_not_held_is_told_with_its_reason(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    node = start_node(_settings(tmp_path, pacs))
    films = [phantom(name) for name in ("whole", "short", "gone", "other class")]
    whole, short, gone, other = films
    send(node, *films)
    _path_of(node, short).write_bytes(_path_of(node, short).read_bytes()[:-1])
    _path_of(node, gone).unlink()
    never = Reference(CR, "1.2.3.4")
    wrong_class = Reference("1.2.840.10008.5.1.4.1.1.7", other.SOPInstanceUID)
    asked = (*map(_reference, (whole, short, gone)), wrong_class, never)
    assert _ask(node, Transaction("1.2.3", asked)) == statuses.SUCCESS
    (report,) = wait_for(lambda: pacs.reports)
    assert report.held == (_reference(whole),)
    assert report.failed == {
        _reference(short): statuses.PROCESSING_FAILURE,
        _reference(gone): statuses.PROCESSING_FAILURE,
        wrong_class: statuses.CLASS_INSTANCE_CONFLICT,
        never: statuses.NO_SUCH_INSTANCE,
    }
    assert pacs.event_types == [2]


def _path_of(node: Node, ds: Dataset) -> Path:
    (stored,) = node._ledger.instances(ds.StudyInstanceUID, 9)
    return node._spool.path(stored.path)


def test_a_sender_that_is_away_is_told_when_it_is_back_even_after_a_restart(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("away")
    send(node, ds)
    pacs.stop()
    assert _ask(node, Transaction("1.2.3", (_reference(ds),))) == statuses.SUCCESS
    wait_for(lambda: _row(node).attempts > 0)
    node.stop()
    pacs.start()
    start_node(node.settings)
    assert wait_for(lambda: pacs.reports)[0].held == (_reference(ds),)


def test_a_report_that_is_refused_is_brought_again(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    pacs.report_status = statuses.PROCESSING_FAILURE
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("refused")
    send(node, ds)
    _ask(node, Transaction("1.2.3", (_reference(ds),)))
    wait_for(lambda: len(pacs.reports) >= 2)
    assert "status 0x0110" in wait_for(lambda: _row(node).reason)
    pacs.report_status = statuses.SUCCESS
    wait_for(lambda: _row(node).answered_at)


def test_a_report_that_nobody_takes_is_given_up_with_its_reason(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    pacs.stop()
    settings = _settings(tmp_path, pacs)
    outbox = settings.outputs.outbox.model_copy(update={"give_up_after_h": 0.2 / 3600})
    outputs = settings.outputs.model_copy(update={"outbox": outbox})
    node = start_node(settings.model_copy(update={"outputs": outputs}))
    _ask(node, Transaction("1.2.3", (Reference(CR, "1.2"),)))
    wait_for(lambda: _row(node).answered_at)
    assert "cannot connect" in _row(node).reason


def test_a_sender_that_may_no_longer_ask_is_told_nothing(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    pacs.stop()
    node = start_node(_settings(tmp_path, pacs))
    _ask(node, Transaction("1.2.3", (Reference(CR, "1.2"),)))
    node.stop()
    again = start_node(settings_for(tmp_path / "root", pacs.port))
    assert "no longer" in _row(again).reason


def _row(node: Node) -> Any:
    with reading(node._database) as connection:
        return connection.execute(sa.select(custody)).one()


def test_a_repeated_request_is_reported_on_again_and_another_under_its_uid_refused(
    start_node: Start, pacs: ReportedPacs, tmp_path: Path
) -> None:
    node = start_node(_settings(tmp_path, pacs))
    transaction = Transaction("1.2.3", (Reference(CR, "1.2"),))
    for number in (1, 2):
        assert _ask(node, transaction) == statuses.SUCCESS
        wait_for(lambda number=number: len(pacs.reports) == number)
    other = Transaction("1.2.3", (Reference(CR, "1.3"),))
    assert _ask(node, other) == statuses.DUPLICATE_TRANSACTION


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"action_type": 2}, statuses.NO_SUCH_ACTION),
        ({"instance_uid": "1.2.3"}, statuses.NO_SUCH_INSTANCE),
        ({"dataset": _only_a_transaction()}, statuses.INVALID_ARGUMENT),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    start_node: Start,
    pacs: ReportedPacs,
    tmp_path: Path,
    changes: dict[str, Any],
    status: int,
) -> None:
    node = start_node(_settings(tmp_path, pacs))
    transaction = Transaction("1.2.3", (Reference(CR, "1.2"),))
    assert _ask(node, transaction, **changes) == status


def test_a_file_is_whole_when_its_length_says_so(tmp_path: Path) -> None:
    ds = phantom("file")
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    text = (tmp_path / "a.dcm").read_bytes()
    meta_bytes = 144 + int.from_bytes(text[140:144], "little")
    assert is_whole(tmp_path / "a.dcm", len(text) - meta_bytes)
    assert not is_whole(tmp_path / "a.dcm", len(text) - meta_bytes + 1)
    assert not is_whole(tmp_path / "b.dcm", 1)
