"""Rules, titles, quiet hours, shadow and two bundles in a node that runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from engine.bundle import device_uid_of
from node.app import Node
from node.config import Settings
from node.feedback import Feedback
from node.reviews import Reviews
from node.routing import SHADOW, is_challengers
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import (
    Pacs,
    associate,
    free_port,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]


def _settings(root: Path, pacs: Pacs, *, engine: Any = None, **changes: Any) -> Settings:
    """Return settings with other `outputs` (and `node`, `to_pacs`) than the tests have else."""
    base = settings_for(root, pacs.port, **changes.pop("node", {})).model_dump()
    base["peers"]["pacs"] |= changes.pop("to_pacs", {})
    base["peers"] |= changes.pop("peers", {})
    base["outputs"] |= changes
    base["engine"] |= engine or {}
    return Settings.model_validate(base)


def _now_and_then() -> tuple[str, str]:
    """Return hours that hold the present, and hours that do not."""
    now = datetime.now().astimezone()
    return tuple(  # type: ignore[return-value]
        f"{now + timedelta(hours=start):%H:%M}-{now + timedelta(hours=start + 2):%H:%M}"
        for start in (-1, 3)
    )


def _timeline(node: Node, ds: Dataset) -> list[tuple[str, str]]:
    (row,) = node.journal.study(ds.StudyInstanceUID)
    return [(step["name"], step["detail"]) for step in row["timeline"]]


def test_each_of_our_titles_is_answered_and_kept_with_the_study(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    rules = [{"name": "night", "called_aet": ["CXRNIGHT"], "send": {}}]
    titles = {"ae_titles": ["CXRNIGHT"]}
    node = start_node(_settings(tmp_path / "root", pacs, node=titles, rules=rules))
    day, night = phantom("day"), phantom("night")
    send(node, day)
    send(node, night, called="CXRNIGHT")
    wait_for_state(node, day, "DONE")
    wait_for_state(node, night, "DONE")
    assert ("rule", "night matched") in _timeline(node, night)
    assert "rule" not in dict(_timeline(node, day))
    assert [ds.StudyInstanceUID for ds in pacs.received] == [day.StudyInstanceUID]
    assert associate(node, called="ELSE").is_rejected
    (rejection,) = node.journal.rejections()
    assert "`node.ae_titles`" in rejection["hint"]


def test_a_title_that_is_not_ours_is_not_kept(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    node = start_node(_settings(tmp_path / "root", pacs, node={"check_called_aet": False}))
    ds = phantom("stranger")
    send(node, ds, called="DOE^JOHN")
    wait_for_state(node, ds, "DONE")
    assert b"DOE^JOHN" not in (tmp_path / "root/ledger.sqlite").read_bytes()


def test_a_rule_says_what_goes_where(start_node: Start, pacs: Pacs, tmp_path: Path) -> None:
    other = Pacs(free_port())
    other.start()
    second = {"ae_title": "OTHER", "host": "127.0.0.1", "port": other.port, "allow": []}
    rules = [
        {"name": "emergency", "station": ["ER*"], "send": {"other": ["report"]}},
        {"name": "no digital", "modalities": ["DX"], "draft": False},
    ]
    node = start_node(_settings(tmp_path / "root", pacs, peers={"other": second}, rules=rules))
    emergency = phantom("emergency", StationName="er2")
    digital = phantom("digital", Modality="DX")
    plain = phantom("plain")
    send(node, emergency, digital, plain)
    wait_for_state(node, emergency, "DONE")
    wait_for_state(node, plain, "DONE")
    wait_for_state(node, digital, "SKIPPED")
    assert [ds.StudyInstanceUID for ds in other.received] == [emergency.StudyInstanceUID]
    assert [ds.StudyInstanceUID for ds in pacs.received] == [plain.StudyInstanceUID]
    (row,) = node.journal.study(digital.StudyInstanceUID)
    assert row["reason"] == "rule no digital wants no draft"
    other.stop()


@pytest.mark.parametrize("by_rule", [True, False])
def test_in_shadow_everything_is_made_and_nothing_is_sent(
    start_node: Start, pacs: Pacs, tmp_path: Path, by_rule: bool
) -> None:
    outputs = {"rules": [{"name": "trial", "shadow": True}]} if by_rule else {"shadow": True}
    kinds = {"send": ["report", "findings"]}
    node = start_node(_settings(tmp_path / "root", pacs, to_pacs=kinds, **outputs))
    ds = phantom("shadow")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    (row,) = node.journal.study(ds.StudyInstanceUID)
    assert row["reason"] == SHADOW
    assert _timeline(node, ds)[-1] == ("done", SHADOW)
    assert {one["kind"] for one in row["outputs"]} == {"report", "findings"}
    assert {one["destination"] for one in row["outputs"]} == {None}
    assert len(list((tmp_path / "root/outputs").rglob("*.dcm"))) == 2
    time.sleep(0.3)
    assert pacs.received == []


def test_in_quiet_hours_only_emergencies_are_sent(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    quiet, _ = _now_and_then()
    rules = [{"name": "emergency", "station": ["ER*"], "priority": "stat"}]
    outbox = {"retry_initial_s": 0.1, "retry_max_s": 0.4, "give_up_after_h": 0.0001}
    quieted = {"quiet_hours": [quiet]}
    settings = _settings(tmp_path / "root", pacs, to_pacs=quieted, rules=rules, outbox=outbox)
    node = start_node(settings)
    emergency, routine = phantom("emergency", StationName="ER2"), phantom("routine")
    send(node, routine, emergency)
    wait_for_state(node, emergency, "DONE")
    wait_for(lambda: _output(node, routine)["reason"])
    time.sleep(1)  # longer than give_up_after_h
    waiting = _output(node, routine)
    assert (waiting["status"], waiting["attempts"]) == ("pending", 0)
    assert waiting["reason"] == f"waits: quiet hours until {quiet[6:]}"
    assert study_state(node, routine) == ["DRAFTED"]
    assert [ds.StudyInstanceUID for ds in pacs.received] == [emergency.StudyInstanceUID]
    node.stop()
    _, later = _now_and_then()
    awake = _settings(tmp_path / "root", pacs, to_pacs={"quiet_hours": [later]}, outbox=outbox)
    again = start_node(awake)
    wait_for_state(again, routine, "DONE")
    assert len(pacs.received) == 2


def _output(node: Node, ds: Dataset) -> dict[str, Any]:
    rows = node.journal.study(ds.StudyInstanceUID)[0]["outputs"]
    return dict(rows[0]) if rows else {"reason": ""}


class _Challenger(FakeEngine):
    name = "challenger"
    version = "2"
    digest = hashlib.sha256(b"challenger").hexdigest()
    device_uid = device_uid_of(digest)


@pytest.fixture
def rivals(tmp_path: Path, pacs: Pacs) -> Iterator[Node]:
    """Yield a node that drafts half of the studies with each of two bundles."""
    engine = {"challenger": "/rival", "challenger_share": 0.5}
    rules = [
        {"name": "first", "station": ["A"], "bundle": "a"},
        {"name": "second", "station": ["B"], "bundle": "b"},
    ]
    settings = _settings(tmp_path / "root", pacs, engine=engine, rules=rules)
    node = Node(settings, FakeEngine(), challenger=_Challenger())
    node.start()
    yield node
    node.stop()


def test_studies_are_shared_between_two_bundles_and_each_draft_names_its_own(
    rivals: Node, pacs: Pacs
) -> None:
    studies = [phantom(f"rival {number}") for number in range(12)]
    send(rivals, *studies)
    wait_for(lambda: len(pacs.received) == len(studies), 30)
    drafts = {ds.StudyInstanceUID: ds for ds in pacs.received}
    shares = {ds.StudyInstanceUID: is_challengers(ds.StudyInstanceUID, 0.5) for ds in studies}
    assert set(shares.values()) == {True, False}
    for uid, is_rivals in shares.items():
        engine = _Challenger if is_rivals else FakeEngine
        device = drafts[uid].AuthorObserverSequence[0]
        assert device.ManufacturerModelName.startswith(engine.name)
        assert engine.device_uid in str(drafts[uid])
        (row,) = rivals.journal.study(uid)
        assert row["bundle"] == f"{engine.name} {engine.version} ({engine.digest[:12]})"
        assert ("reported", row["bundle"]) in [
            (step["name"], step["detail"]) for step in row["timeline"]
        ]


def test_a_successor_meets_the_same_bundle_and_rules_may_choose(rivals: Node, pacs: Pacs) -> None:
    studies = [phantom(f"again {number}") for number in range(4)]
    chosen = [phantom(f"chosen {name}", StationName=name) for name in ("A", "B")]
    send(rivals, *studies, *chosen)
    for ds in (*studies, *chosen):
        wait_for_state(rivals, ds, "DONE")
    for ds in studies:
        rivals._ledger.replay(ds.StudyInstanceUID, time.time())
    for ds in studies:
        wait_for_state(rivals, ds, "DONE", "DONE")
        one, other = (row["bundle"] for row in rivals.journal.study(ds.StudyInstanceUID))
        assert one == other
    names = [rivals.journal.study(ds.StudyInstanceUID)[0]["bundle"] for ds in chosen]
    assert [name.split()[0] for name in names] == ["fake", "challenger"]


def test_questions_go_to_the_bundle_that_drafted_and_feedback_names_it(
    rivals: Node, pacs: Pacs
) -> None:
    ds = phantom("asked", StationName="B")
    send(rivals, ds)
    wait_for_state(rivals, ds, "DONE")
    rivals._questions.ask(ds.StudyInstanceUID, "Is it large?", by="reader", now=time.time())
    wait_for(lambda: rivals._questions.of_study(ds.StudyInstanceUID)[0].state == "answered")
    (question,) = rivals._questions.of_study(ds.StudyInstanceUID)
    assert (question.provenance or {})["bundle_digest"] == _Challenger.digest
    reviews = Reviews(rivals._database)
    reviews.keep(Feedback(ds.StudyInstanceUID, 1, "accept", (), "reader", time.time()))
    (row,) = reviews.training_rows()
    assert (row["bundle_name"], row["bundle_version"]) == ("challenger", "2")
