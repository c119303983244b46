"""From the first image to the delivered draft, and every way in which that can end early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.app import Node
from tests.fakes import FakeEngine, PlainRenderer
from tests.films import phantom, uid
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


def _reason(node: Node, study_uid: str) -> str:
    return str(node.journal.study(study_uid)[-1]["reason"])


def test_a_film_becomes_a_draft_in_its_own_study(start_node: Start, pacs: Pacs) -> None:
    node, ds = start_node(), phantom("a")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    (report,) = pacs.received
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == ds.StudyInstanceUID
    assert report.PatientID == ds.PatientID
    assert report.VerificationFlag == "UNVERIFIED"
    steps = [step["name"] for step in node.journal.study(ds.StudyInstanceUID)[0]["timeline"]]
    assert steps[:3] == ["received", "ready", "claimed"]
    assert steps[-3:] == ["delivering", "sent", "done"]


def test_an_image_that_comes_late_makes_a_successor(start_node: Start, pacs: Pacs) -> None:
    node, first = start_node(), phantom("b")
    second = phantom("b", SOPInstanceUID=uid("instance", "late"))
    send(node, first)
    wait_for_state(node, first, "DONE")
    send(node, second)
    wait_for_state(node, first, "DONE", "DONE")
    one, two = pacs.received
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    (study,) = two.PredecessorDocumentsSequence
    (before,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == one.SOPInstanceUID


def test_two_patients_in_one_study_get_no_draft(start_node: Start, pacs: Pacs) -> None:
    node, one = start_node(), phantom("c")
    other = phantom("c", PatientID="SOMEONE-ELSE", SOPInstanceUID=uid("instance", "other"))
    assert send(node, one, other) == [0, 0]
    wait_for_state(node, one, "FAILED")
    assert "more than one patient" in _reason(node, one.StudyInstanceUID)
    assert pacs.received == []


@pytest.mark.parametrize(
    "changes",
    [{"BodyPartExamined": "HAND"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "XC"}],
    ids=["hand", "photograph"],
)
def test_a_study_without_a_chest_film_is_skipped_with_the_reason(
    start_node: Start, changes: dict[str, Any]
) -> None:
    node, ds = start_node(), phantom("d", **changes)
    assert send(node, ds) == [0]
    wait_for_state(node, ds, "SKIPPED")
    assert _reason(node, ds.StudyInstanceUID).startswith("no frontal film: ")


def test_a_film_that_the_guard_rejects_is_skipped_with_its_reasons(
    start_node: Start, engine: FakeEngine
) -> None:
    engine.rejects = ("it is upside down",)
    node, ds = start_node(), phantom("e")
    send(node, ds)
    wait_for_state(node, ds, "SKIPPED")
    assert "it is upside down" in _reason(node, ds.StudyInstanceUID)


def test_unreadable_pixels_fail_the_study(start_node: Start) -> None:
    node, ds = start_node(), phantom("f")
    ds.PixelData = ds.PixelData[:100]
    assert send(node, ds) == [0]
    wait_for_state(node, ds, "FAILED")
    assert "unreadable pixels" in _reason(node, ds.StudyInstanceUID)


def test_a_model_that_fails_fails_the_study_and_not_the_node(
    start_node: Start, engine: FakeEngine
) -> None:
    engine.fails = True
    node, ds = start_node(), phantom("g")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    assert "told to fail" in _reason(node, ds.StudyInstanceUID)
    engine.fails = False
    other = phantom("h")
    send(node, other)
    wait_for_state(node, other, "DONE")


def test_an_unforeseen_fault_fails_the_study_and_not_the_node(
    start_node: Start, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_image: object, **_options: object) -> None:
        raise ZeroDivisionError("Doe^Jane")

    monkeypatch.setattr(engine, "report", broken)
    node, ds = start_node(), phantom("i")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    assert _reason(node, ds.StudyInstanceUID).startswith("internal error: ZeroDivisionError at")


def test_images_are_taken_in_while_the_model_thinks(start_node: Start, engine: FakeEngine) -> None:
    engine.may_answer.clear()
    node, ds = start_node(), phantom("j")
    send(node, ds)
    wait_for_state(node, ds, "RUNNING")
    assert send(node, phantom("k")) == [0]
    engine.may_answer.set()
    wait_for_state(node, ds, "DONE")


def test_a_study_waits_for_the_association_that_carries_it(start_node: Start) -> None:
    node, ds = start_node(), phantom("l")
    assoc = associate(node)
    assoc.send_c_store(ds)
    with pytest.raises(AssertionError, match="in vain"):
        wait_for(lambda: study_state(node, ds) != ["RECEIVING"], timeout_s=0.8)
    assoc.release()
    wait_for_state(node, ds, "DONE")


def test_the_hard_cap_closes_a_study_whose_association_hangs(start_node: Start) -> None:
    node, ds = start_node(study={"quiet_s": 0.2, "hard_cap_s": 0.6}), phantom("m")
    assoc = associate(node)
    assoc.send_c_store(ds)
    wait_for_state(node, ds, "DONE")
    assoc.release()


def test_a_stopped_node_takes_up_its_work_when_it_starts_again(
    start_node: Start, engine: FakeEngine, pacs: Pacs
) -> None:
    pacs.stop()
    node, ds = start_node(), phantom("n")
    send(node, ds)
    wait_for_state(node, ds, "DELIVERING")
    node.stop()
    pacs.start()
    again = start_node(node.settings)
    wait_for_state(again, ds, "DONE")
    assert engine.num_reports == 1


def test_a_retried_draft_has_the_same_bytes(start_node: Start, tmp_path: Path, pacs: Pacs) -> None:
    pacs.stop()
    node, ds = start_node(), phantom("o")
    send(node, ds)
    wait_for_state(node, ds, "DELIVERING")
    (path,) = (node.settings.node.storage.root / "outputs").rglob("*.dcm")
    claim = node._ledger.claim("x", 0, lease_s=1, max_attempts=9)
    assert claim is None
    before = path.read_bytes()
    row = node.journal.study(ds.StudyInstanceUID)[0]
    ready_at = next(step["at"] for step in row["timeline"] if step["name"] == "ready")
    _draft_again(node, ds.StudyInstanceUID, ready_at)
    assert path.read_bytes() == before


def _draft_again(node: Node, study_uid: str, ready_at: float) -> None:
    """Draft a generation once more, as after a kill before its transaction."""
    from node.models import Models
    from node.pipeline import Pipeline
    from node.records import Claim

    pipeline = Pipeline(
        Models(FakeEngine()), PlainRenderer(), node.settings.outputs, node._spool, node._clock
    )
    claim = Claim(study_uid, 1, "key", ready_at, 2, "someone else")
    pipeline.draft_study(claim, node._ledger.instances(study_uid, 1))


def test_our_own_report_is_refused_as_input(start_node: Start, pacs: Pacs) -> None:
    node, ds = start_node(), phantom("p")
    send(node, ds)
    wait_for(lambda: pacs.received)
    returned = phantom("p", Manufacturer=pacs.received[0].Manufacturer, SOPInstanceUID="1.2.3")
    assert send(node, returned) == [0xA900]
    assert study_state(node, ds) == ["DONE"]


def test_a_synthetic_image_is_drawn_marked_and_sent(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "r", pacs.port)
    peer = settings.peers["pacs"].model_copy(update={"send": ("report", "synthetic")})
    synthetic = settings.outputs.synthetic.model_copy(update={"enabled": True})
    outputs = settings.outputs.model_copy(update={"synthetic": synthetic})
    changes = {"peers": {"pacs": peer}, "outputs": outputs}
    node, ds = start_node(settings.model_copy(update=changes)), phantom("q")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    (drawn,) = [made for made in pacs.received if made.Modality == "OT"]
    assert drawn.SyntheticData == "YES"
    assert drawn.PatientID.startswith("RESEARCH-")
    assert drawn.StudyInstanceUID != ds.StudyInstanceUID
