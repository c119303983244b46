"""What goes wrong around a node: a locked ledger, jumping clocks, a PACS away for hours."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from node.app import Node
from node.clock import SystemClock
from node.config_outputs import OutboxSettings
from tests.fakes import FakeEngine, ManualClock
from tests.films import CR, phantom
from tests.node.conftest import (
    SR,
    Pacs,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]
LOCK_S = float(os.environ.get("CXR_LOCK_S", "2"))
"""How long somebody else holds the ledger; SQLite waits 30 s before it refuses."""
HOUR = 3600.0


class _ShiftedClock(SystemClock):
    """A clock that was set forward or back before the node started."""

    def __init__(self, shift_s: float) -> None:
        super().__init__()
        self._offset += shift_s


def _attempts(node: Node, ds: Dataset) -> int:
    rows = [row for made in node.journal.study(ds.StudyInstanceUID) for row in made["outputs"]]
    return max((int(row["attempts"] or 0) for row in rows), default=0)


def _patiently(node: Node, ds: Dataset, statuses: list[int]) -> None:
    """Send an image until it is acknowledged, as a modality does."""
    ae = AE("PACS")
    ae.add_requested_context(CR)
    ae.acse_timeout = ae.dimse_timeout = 2 * LOCK_S + 30
    while 0 not in statuses:
        assoc = ae.associate(
            "127.0.0.1", node.settings.node.port, ae_title=node.settings.node.ae_title
        )
        statuses.append(int(assoc.send_c_store(ds).get("Status", -1)))
        assoc.release()


@pytest.mark.timeout(LOCK_S * 3 + 120)
def test_a_locked_ledger_delays_everything_and_loses_nothing(start_node: Start) -> None:
    node = start_node()
    before, during = phantom("before the lock"), phantom("during the lock")
    send(node, before)
    statuses: list[int] = []
    sender = threading.Thread(target=_patiently, args=(node, during, statuses))
    holder = sqlite3.connect(node._spool.root / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    sender.start()
    time.sleep(LOCK_S)
    assert 0 not in statuses, "acknowledged without the ledger"
    holder.execute("ROLLBACK")
    holder.close()
    sender.join(60)
    assert set(statuses) <= {0, 0xA700}
    for ds in (before, during):
        wait_for_state(node, ds, "DONE")


def test_a_clock_that_is_set_while_the_node_runs_is_not_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, before = SystemClock(), time.time
    first = clock.now()
    for jump in (HOUR, -HOUR):
        monkeypatch.setattr(time, "time", lambda jump=jump: before() + jump)
        assert 0 <= clock.now() - first < 5


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_was_set_between_two_runs_holds_nothing_up(
    jump: float, tmp_path: Path, pacs: Pacs, engine: FakeEngine
) -> None:
    pacs.stop()
    study = {"quiet_s": 1.0, "hard_cap_s": 30, "successor_every_s": 60}
    settings = settings_for(tmp_path / "root", pacs.port, study=study)
    node = Node(settings, engine)
    node.start()
    waiting, receiving = phantom("waiting"), phantom("receiving")
    send(node, waiting)
    wait_for(lambda: _attempts(node, waiting) > 0)
    send(node, receiving)
    node.stop()
    pacs.start()
    again = Node(settings, engine, _ShiftedClock(jump))
    again.start()
    try:
        for ds in (waiting, receiving):
            wait_for_state(again, ds, "DONE")
    finally:
        again.stop()
    assert engine.num_reports == 2


def test_a_pacs_that_is_away_for_hours_gets_its_draft_once(
    tmp_path: Path, pacs: Pacs, engine: FakeEngine
) -> None:
    pacs.stop()
    clock = ManualClock()
    settings = settings_for(tmp_path / "root", pacs.port)
    outputs = settings.outputs.model_copy(update={"outbox": OutboxSettings()})
    node = Node(settings.model_copy(update={"outputs": outputs}), engine, clock)
    node.start()
    try:
        ds = phantom("hours")
        send(node, ds)
        clock.advance(1)
        wait_for(lambda: _attempts(node, ds) == 1)
        for number in range(2, 52):  # 30 s, doubled to 10 min: eight hours
            clock.advance(600)
            wait_for(lambda number=number: _attempts(node, ds) == number)
        assert study_state(node, ds) == ["DELIVERING"]
        pacs.start()
        clock.advance(600)
        wait_for_state(node, ds, "DONE")
    finally:
        node.stop()
    assert len(pacs.received) == 1


class _AbortingPacs(Pacs):
    """A PACS that hangs up in the middle of an object, twice."""

    num_aborts = 0

    def _on_c_store(self, event: Any) -> int:
        if self.num_aborts < 2:
            self.num_aborts += 1
            event.assoc.abort()
            return 0x0110
        return super()._on_c_store(event)


def test_a_pacs_that_hangs_up_on_an_object_gets_it_again(start_node: Start, pacs: Pacs) -> None:
    pacs.stop()
    aborting = _AbortingPacs(pacs.port)
    aborting.start()
    node, ds = start_node(), phantom("hangs up")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert _attempts(node, ds) == 3
    assert len(aborting.received) == 1
    aborting.stop()


def test_a_pacs_that_takes_no_reports_is_tried_until_it_does(start_node: Start, pacs: Pacs) -> None:
    pacs.stop()
    pacs.classes.remove(SR)
    pacs.start()
    node, ds = start_node(), phantom("refuses")
    send(node, ds)
    wait_for(lambda: _attempts(node, ds) >= 2)
    (row,) = node.journal.study(ds.StudyInstanceUID)[0]["outputs"]
    assert "does not take Enhanced SR" in row["reason"]
    pacs.stop()
    pacs.classes.append(SR)
    pacs.start()
    wait_for_state(node, ds, "DONE")


def test_a_model_that_hangs_holds_up_drafts_and_nothing_else(
    start_node: Start, engine: FakeEngine
) -> None:
    engine.may_answer.clear()
    node, hanging = start_node(), phantom("hangs")
    send(node, hanging)
    wait_for_state(node, hanging, "RUNNING")
    late = phantom("comes meanwhile")
    assert send(node, late) == [0]
    wait_for_state(node, late, "READY")
    engine.may_answer.set()
    for ds in (hanging, late):
        wait_for_state(node, ds, "DONE")


def test_a_study_on_which_the_model_hangs_fails_and_the_next_is_drafted(
    start_node: Start, engine: FakeEngine
) -> None:
    engine.may_answer.clear()
    node, hanging = (
        start_node(work={"sweep_s": 0.05, "lease_s": 1, "draft_timeout_s": 1, "max_attempts": 2}),
        phantom("1"),
    )
    send(node, hanging)
    wait_for_state(node, hanging, "FAILED")
    reason = node.journal.study(hanging.StudyInstanceUID)[0]["reason"]
    assert "2 attempts that did not end" in reason
    engine.may_answer.set()
    after = phantom("2")
    send(node, after)
    wait_for_state(node, after, "DONE")
    assert study_state(node, hanging) == ["FAILED"], "what comes too late counts for nothing"
