"""The ledger: arrivals, generations, leases, and what a draft leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from node.config import StudySettings
from node.config_outputs import OutboxSettings
from node.database import open_ledger, sqlite_url
from node.errors import LedgerError, UnknownName
from node.journal import Journal
from node.ledger import Ledger
from node.outbox import Outbox, backoff_s
from node.records import (
    Arrival,
    Claim,
    DeliveryStatus,
    Finished,
    Recorded,
    Rejection,
    StoredOutput,
    Verdict,
)
from node.studies import State, close_quiet_studies
from node.transactions import move, writing

RULE = StudySettings(quiet_s=8, hard_cap_s=120, successor_every_s=0)
ARRIVAL = Arrival(
    sop_instance_uid="1.2.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    study_uid="1.2",
    series_uid="1.2.0",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    patient_digest="p",
    content_digest="a",
    num_bytes=1,
    path="images/aa/a.dcm",
    peer="pacs",
)
OUTPUT = StoredOutput("9.1", "1.2.840.10008.5.1.4.1.1.88.22", "report", "outputs/o.dcm", "b")


@pytest.fixture
def database(url: sa.URL) -> Iterator[Engine]:
    engine = open_ledger(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(database: Engine) -> Ledger:
    return Ledger(database)


def _close(ledger: Ledger, now: float) -> list[bool]:
    closings = close_quiet_studies(
        ledger.receiving(), now=now, open_study_uids=frozenset(), rule=RULE
    )
    return [ledger.close(closing, now) for closing in closings]


def _claim(ledger: Ledger, now: float, owner: str = "w", max_attempts: int = 3) -> Claim | None:
    return ledger.claim(owner, now, lease_s=60, max_attempts=max_attempts)


def _finish(ledger: Ledger, claim: Claim, output: StoredOutput = OUTPUT, now: float = 20) -> bool:
    finished = Finished((output,), {"report": {"bundle_digest": "d"}}, ())
    return ledger.finish(claim, finished, {"report": ["pacs"]}, now, give_up_after_s=100)


def _states(database: Engine, study_uid: str = "1.2") -> list[str]:
    return [row["state"] for row in Journal(database).study(study_uid)]


def test_the_file_is_a_write_ahead_log_with_full_synchronisation(tmp_path: Path) -> None:
    with open_ledger(sqlite_url(tmp_path / "ledger.sqlite")).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_the_same_bytes_twice_are_one_instance(ledger: Ledger, database: Engine) -> None:
    assert ledger.record_arrival(ARRIVAL, 1) is Recorded.NEW
    assert ledger.record_arrival(ARRIVAL, 2) is Recorded.SAME
    assert Journal(database).studies()[0]["num_images"] == 1


def test_other_bytes_under_a_known_uid_leave_the_first(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    assert ledger.record_arrival(replace(ARRIVAL, content_digest="b"), 2) is Recorded.CONFLICT
    assert ledger.record_arrival(ARRIVAL, 3) is Recorded.SAME


def test_arrivals_of_many_threads_are_each_entered_once(ledger: Ledger, database: Engine) -> None:
    """Twenty threads, ten images each, every other one sent by two of them at once."""

    def enter(number: int) -> list[Recorded]:
        uids = [f"1.2.{number // 2}.{image}" for image in range(10)]
        return [
            ledger.record_arrival(replace(ARRIVAL, sop_instance_uid=uid), number) for uid in uids
        ]

    with ThreadPoolExecutor(20) as pool:
        outcome = [one for made in pool.map(enter, range(20)) for one in made]
    assert sorted(outcome) == [Recorded.NEW] * 100 + [Recorded.SAME] * 100
    assert Journal(database).studies()[0]["num_images"] == 100
    assert len(Journal(database).study("1.2")[0]["timeline"]) == 100


def test_a_ledger_that_fails_tells_everyone_who_waited(ledger: Ledger, database: Engine) -> None:
    with writing(database) as connection:
        connection.exec_driver_sql("DROP TABLE event")
    with ThreadPoolExecutor(8) as pool:
        tried = [
            pool.submit(ledger.record_arrival, replace(ARRIVAL, sop_instance_uid=f"1.{number}"), 1)
            for number in range(8)
        ]
    assert all(isinstance(one.exception(), LedgerError) for one in tried)
    assert Journal(database).studies() == []


def test_a_late_image_before_the_draft_joins_and_after_it_makes_a_generation(
    ledger: Ledger, database: Engine
) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    assert _close(ledger, 10) == [True]
    ledger.record_arrival(replace(ARRIVAL, sop_instance_uid="1.2.2"), 11)
    assert _states(database) == ["RECEIVING"]
    _close(ledger, 30)
    assert _claim(ledger, 31)
    ledger.record_arrival(replace(ARRIVAL, sop_instance_uid="1.2.3"), 32)
    assert _states(database) == ["RUNNING", "RECEIVING"]
    assert len(ledger.instances("1.2", 1)) == 2
    assert len(ledger.instances("1.2", 2)) == 3


def test_an_image_that_comes_while_the_rule_decides_keeps_the_study_open(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    closings = close_quiet_studies(
        ledger.receiving(), now=10, open_study_uids=frozenset(), rule=RULE
    )
    ledger.record_arrival(replace(ARRIVAL, sop_instance_uid="1.2.2"), 10)
    assert ledger.close(closings[0], 10) is False


def test_one_study_has_one_worker(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    assert _claim(ledger, 11, "a") is not None
    assert _claim(ledger, 11, "b") is None


def test_a_study_whose_lease_is_over_is_taken_up_with_the_same_ready_time(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    first = _claim(ledger, 11, "a")
    second = _claim(ledger, 11 + 61, "b")
    assert first is not None
    assert second is not None
    assert second.ready_at == first.ready_at == 10
    assert _finish(ledger, first) is False
    assert _finish(ledger, second) is True


def test_a_study_that_kills_its_workers_is_given_up(ledger: Ledger, database: Engine) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    for attempt in range(2):
        assert _claim(ledger, 11 + attempt * 100, max_attempts=2)
    assert _claim(ledger, 1000, max_attempts=2) is None
    assert _states(database) == ["FAILED"]
    assert "2 attempts" in Journal(database).study("1.2")[0]["reason"]


def test_a_postponed_study_waits_and_its_attempt_does_not_count(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    claim = _claim(ledger, 11)
    assert claim
    ledger.postpone(claim, "the disk is full", 50)
    assert _claim(ledger, 49) is None
    again = _claim(ledger, 51)
    assert again
    assert again.attempts == 1


def test_a_restart_takes_up_what_was_running_at_once(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    _claim(ledger, 11)
    assert ledger.recover(12) == 1
    assert _claim(ledger, 12) is not None


def test_a_clock_set_back_does_not_hold_studies_for_ever(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1_000_000)
    ledger.recover(10)
    assert _close(ledger, 20) == [True]


def test_a_draft_and_its_deliveries_are_committed_together(
    ledger: Ledger, database: Engine
) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    claim = _claim(ledger, 11)
    assert claim
    assert _finish(ledger, claim)
    (item,) = Outbox(database).due("pacs", 20)
    assert (item.sop_instance_uid, item.generation, item.kind) == ("9.1", 1, "report")
    assert _states(database) == ["DRAFTED"]


def test_a_draft_that_cannot_be_committed_leaves_nothing(ledger: Ledger, database: Engine) -> None:
    for number in (1, 2):
        uid = f"1.{number}"
        ledger.record_arrival(replace(ARRIVAL, sop_instance_uid=f"{uid}.1", study_uid=uid), 1)
    _close(ledger, 10)
    first, second = _claim(ledger, 11), _claim(ledger, 11)
    assert first
    assert second
    _finish(ledger, first)
    with pytest.raises(LedgerError):
        _finish(ledger, second)  # the same SOP Instance UID again
    assert Journal(database).study(second.study_uid)[0]["result"] is None


def test_a_study_is_done_when_every_delivery_is(ledger: Ledger, database: Engine) -> None:
    outbox = Outbox(database)
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    claim = _claim(ledger, 11)
    assert claim
    finished = Finished((OUTPUT,), {}, ())
    ledger.finish(claim, finished, {"report": ["a", "b"]}, 20, give_up_after_s=100)
    (to_a,), (to_b,) = outbox.due("a", 20), outbox.due("b", 20)
    outbox.begin(to_a, 21)
    assert _states(database) == ["DELIVERING"]
    outbox.settle(to_a, Verdict(DeliveryStatus.SENT, "", 0), 22)
    assert _states(database) == ["DELIVERING"]
    outbox.settle(to_b, Verdict(DeliveryStatus.PARKED, "0xA900", 0xA900), 23)
    (row,) = Journal(database).study("1.2")
    assert (row["state"], row["reason"]) == ("FAILED", "b: 0xA900")


def test_a_clock_that_was_set_back_does_not_hold_up_a_successor(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 10_001)
    _close(ledger, 10_010)
    first = _claim(ledger, 10_011)
    assert first
    ledger.end(first, State.SKIPPED, "lateral", 10_012)
    ledger.recover(100)
    ledger.record_arrival(Arrival(**{**vars(ARRIVAL), "sop_instance_uid": "1.2.9"}), 101)
    (study,) = ledger.receiving()
    assert study.previous_ready_at == 100


def test_a_successor_knows_the_report_before_it_and_only_that(ledger: Ledger) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    _close(ledger, 10)
    first = _claim(ledger, 11)
    assert first
    assert first.predecessor_digest is None
    ledger.end(first, State.SKIPPED, "lateral", 12)
    ledger.replay("1.2", 13)
    second = _claim(ledger, 14)
    assert second
    assert second.predecessor_digest is None
    _finish(ledger, second)
    assert Outbox(ledger._engine).due("pacs", 20)
    later = Arrival(**{**vars(ARRIVAL), "sop_instance_uid": "1.2.9"})
    ledger.record_arrival(later, 21)
    _close(ledger, 40)
    third = _claim(ledger, 41)
    assert third
    assert third.predecessor_digest == "d"


def test_a_move_outside_the_table_is_refused(ledger: Ledger, database: Engine) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    with pytest.raises(LedgerError), writing(database) as connection:
        move(connection, "1.2", 1, State.DONE)


def test_a_replay_is_a_new_generation_that_is_ready(ledger: Ledger, database: Engine) -> None:
    ledger.record_arrival(ARRIVAL, 1)
    with pytest.raises(UnknownName):
        ledger.replay("1.2", 2)
    _close(ledger, 10)
    claim = _claim(ledger, 11)
    assert claim
    ledger.end(claim, State.SKIPPED, "no frontal film", 12)
    assert ledger.replay("1.2", 13) == 2
    assert _states(database) == ["SKIPPED", "READY"]
    with pytest.raises(UnknownName):
        ledger.replay("9.9", 14)


def test_only_the_latest_thousand_rejections_are_kept(database: Engine) -> None:
    journal = Journal(database)
    with writing(database) as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1005) "
            "INSERT INTO rejection (at, kind, calling_aet, address, reason, hint) "
            "SELECT i, 'association', 'X', '127.0.0.1', 'r', '' FROM n"
        )
    journal.note_rejection(Rejection("association", "LAST", "127.0.0.1", "r"), 2000)
    assert len(journal.rejections(limit=5000)) == 1000
    assert journal.rejections()[0]["calling_aet"] == "LAST"


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["image", "close", "claim", "finish", "restart"]), max_size=25)
)
def test_whatever_happens_every_image_ends_in_a_draft(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Any order of events, a restart at any point: in the end each image is in a finished draft."""
    database = open_ledger(sqlite_url(tmp_path_factory.mktemp("ledger") / "l.sqlite"))
    ledger, now, num_images, claims = Ledger(database), 0.0, 0, list[Claim]()
    for number, step in enumerate([*steps, "restart", "close", "claim", "finish"]):
        now += 10
        match step:
            case "image":
                arrival = replace(ARRIVAL, sop_instance_uid=f"1.2.{number}")
                num_images += ledger.record_arrival(arrival, now) is Recorded.NEW
            case "close":
                _close(ledger, now)
            case "claim":
                claims += [claim] if (claim := _claim(ledger, now, max_attempts=100)) else []
            case "finish" if claims:
                _drain(ledger, claims, now)
            case "restart":
                claims.clear()
                ledger.recover(now)
    while (claim := _claim(ledger, now, max_attempts=100)) is not None:
        _drain(ledger, [claim], now)
    generations = Journal(database).study("1.2")
    assert {row["state"] for row in generations} <= {"DRAFTED"}
    last = generations[-1]["generation"] if generations else 0
    assert len(ledger.instances("1.2", last)) == num_images


def _drain(ledger: Ledger, claims: list[Claim], now: float) -> None:
    while claims:
        claim = claims.pop()
        output = replace(OUTPUT, sop_instance_uid=f"9.{claim.generation}")
        _finish(ledger, claim, output, now)


def test_back_off_doubles_up_to_its_ceiling() -> None:
    rule = OutboxSettings()
    assert [backoff_s(n, rule) for n in (1, 2, 3, 5, 6, 1000)] == [30, 60, 120, 480, 600, 600]
