"""What a draft is given beside its frontal film: what, of whom, and what the report says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from engine.guard import FOREIGN, LATERAL, as_lateral
from engine.results import Image, Inspection
from engine.study_input import Part
from node.app import Node
from node.feedback import Feedback
from node.questions import Questions
from node.reviews import Reviews
from node.rules import choose_lateral
from tests.fakes import FakeEngine
from tests.films import phantom, uid
from tests.node.conftest import Pacs, send, settings_for, wait_for, wait_for_state
from tests.node.test_reviews import texts
from tests.node.test_rules import facts

Start = Callable[..., Node]
PERSON = {"PatientID": "7", "PatientBirthDate": "19500101", "PatientName": "Weaver^Anna"}
FRONTAL, TURNED = "frontal", "the film is turned by about 90 degrees"


class Knowing(FakeEngine):
    """Knows every part, and tells a lateral film (one that is mirrored) from a frontal one."""

    inputs = tuple(map(str, Part))
    faults: tuple[str, ...] = ()

    def inspect(self, image: Image) -> Inspection:
        left, right = image[0, :, :128].mean(), image[0, :, 128:].mean()
        if left < right:
            return Inspection(True, FRONTAL, (), {"frontal": 1.0})
        return Inspection(False, "lateral", (FOREIGN, LATERAL, *self.faults), {"frontal": 0.0})


@pytest.fixture
def engine() -> FakeEngine:
    return Knowing()


def frontal(name: str = "f", date: str = "20240102", **changes: Any) -> Dataset:
    known = {"ViewPosition": "PA", "StudyDate": date, "StudyTime": "0900"}
    reason = {"ReasonForTheRequestedProcedure": "Anna Weaver has a cough since 12.03.2024"}
    return phantom(name, **{**PERSON, **known, **reason, **changes})


def lateral(name: str = "f", **changes: Any) -> Dataset:
    """Return the lateral film of the study of `frontal`."""
    ds = frontal(name, ViewPosition="LL", SOPInstanceUID=uid("lateral", name), **changes)
    ds.PixelData = np.ascontiguousarray(ds.pixel_array[:, ::-1]).tobytes()
    return ds


def detail(node: Node, ds: Dataset, name: str = "inputs", generation: int = 1) -> str:
    timeline = node.journal.study(ds.StudyInstanceUID)[generation - 1]["timeline"]
    return next((step["detail"] for step in timeline if step["name"] == name), "")


def judge(node: Node, ds: Dataset, verdict: Any, **words: tuple[str, ...]) -> None:
    values = {"reasons": ("style",), "by": "reader", "at": node._clock.now(), **words}
    Reviews(node._database).keep(Feedback(ds.StudyInstanceUID, 1, verdict, **values))


def with_inputs(root: Path, pacs: Pacs, **inputs: bool) -> Any:
    return settings_for(root, pacs.port, inputs=inputs)


def evidence(report: Dataset) -> list[str]:
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return [
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    ]


def test_the_model_is_given_lateral_film_and_indication_and_the_report_says_so(
    start_node: Start, pacs: Pacs, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    node, first, second = start_node(), frontal(), lateral()
    send(node, first, second)
    wait_for_state(node, first, "DONE")
    (given,) = engine.given
    assert given.keys() == {"lateral", "indication"}
    assert given["indication"] == "has a cough since"
    assert given["lateral"][0, :, :128].mean() > given["lateral"][0, :, 128:].mean()
    assert detail(node, first) == "given indication, frontal, lateral"
    (report,) = pacs.received
    assert evidence(report) == [first.SOPInstanceUID, second.SOPInstanceUID]
    (equipment,) = report.ContributingEquipmentSequence
    assert "given indication and frontal and lateral" in equipment.ContributionDescription
    assert "cough" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("fault", ["turned", "unreadable", "frontal"])
def test_a_lateral_film_that_is_none_is_left_out_and_named(
    fault: str, start_node: Start, engine: Knowing
) -> None:
    node, first, second = start_node(), frontal(), lateral()
    if fault == "turned":
        engine.faults = (TURNED,)
    if fault == "unreadable":
        del second.PixelData
        second.add_new("PixelData", "OW", b"\0\0")
    if fault == "frontal":
        second.PixelData = first.PixelData
    send(node, first, second)
    wait_for_state(node, first, "DONE")
    (given,) = engine.given
    assert "lateral" not in given
    said = {
        "turned": TURNED,
        "unreadable": "unreadable pixels",
        "frontal": "this is not a lateral chest film",
    }
    assert f"lateral left out: {said[fault]}" in detail(node, first)


def test_a_model_that_knows_no_parts_is_given_none(start_node: Start, engine: Knowing) -> None:
    engine.inputs = (FRONTAL,)  # type: ignore[misc]
    node, first = start_node(), frontal()
    send(node, first, lateral())
    wait_for_state(node, first, "DONE")
    assert engine.given == [{}]
    assert detail(node, first) == ""


def test_what_a_site_switches_off_is_not_given(
    start_node: Start, pacs: Pacs, engine: FakeEngine, tmp_path: Path
) -> None:
    settings = with_inputs(tmp_path / "root", pacs, lateral=False, indication=False)
    node, first = start_node(settings), frontal()
    send(node, first, lateral())
    wait_for_state(node, first, "DONE")
    assert engine.given == [{}]


def test_a_part_without_room_is_named(start_node: Start, engine: Knowing) -> None:
    node, first = start_node(), frontal()
    shown, engine.inputs = engine.inputs, ("indication", FRONTAL, "lateral")  # type: ignore[misc]
    assert shown
    narrow = engine.report
    engine.report = lambda image, **given: _without_lateral(narrow(image, **given))  # type: ignore
    send(node, first, lateral())
    wait_for_state(node, first, "DONE")
    assert detail(node, first) == (
        "given indication, frontal; lateral left out: no room in the prompt"
    )


def _without_lateral(draft: Any) -> Any:
    inputs = tuple(part for part in draft.provenance.inputs if part != "lateral")
    return replace(draft, provenance=replace(draft.provenance, inputs=inputs))


def test_a_late_lateral_film_makes_a_new_generation(
    start_node: Start, pacs: Pacs, engine: FakeEngine
) -> None:
    node, first, second = start_node(), frontal(), lateral()
    send(node, first)
    wait_for_state(node, first, "DONE")
    send(node, second)
    wait_for_state(node, first, "DONE", "DONE")
    assert ["lateral" in given for given in engine.given] == [False, True]
    assert detail(node, first) == "given indication, frontal; lateral left out: the study has none"
    assert evidence(pacs.received[1]) == [first.SOPInstanceUID, second.SOPInstanceUID]


def test_an_edited_draft_still_refers_to_what_the_model_saw(
    start_node: Start, pacs: Pacs, engine: FakeEngine
) -> None:
    node, first, second = start_node(), frontal(), lateral()
    send(node, first, second)
    wait_for_state(node, first, "DONE")
    judge(node, first, "edit", findings=("Clear.",), impression=("Normal.",))
    wait_for_state(node, first, "DONE", "DONE")
    assert evidence(pacs.received[1]) == [first.SOPInstanceUID, second.SOPInstanceUID]
    assert len(engine.given) == 1


def test_a_question_is_answered_with_what_the_draft_had(
    start_node: Start, engine: FakeEngine
) -> None:
    node, first = start_node(), frontal()
    send(node, first, lateral())
    wait_for_state(node, first, "DONE")
    questions = Questions(node._database)
    asked = questions.ask(first.StudyInstanceUID, "Is it clear?", by="r", now=node._clock.now())
    answered = wait_for(lambda: _answered(questions, asked.study_uid, asked.id))
    assert answered.provenance["inputs"] == ["indication", "frontal", "lateral"]
    assert engine.given[1].keys() == {"lateral", "indication"}


def _answered(questions: Questions, study_uid: str, number: int) -> Any:
    found = questions.find(study_uid, number)
    return found if found and found.answer else None


@pytest.fixture
def remembering(start_node: Start, pacs: Pacs, tmp_path: Path) -> Node:
    """A node that gives the model earlier reports."""
    return start_node(with_inputs(tmp_path / "root", pacs, previous_report=True))


def drafted(node: Node, ds: Dataset, *states: str) -> Dataset:
    send(node, ds)
    wait_for_state(node, ds, *(states or ("DONE",)))
    return ds


def test_a_report_that_a_reader_let_stand_is_given_with_the_next_study(
    remembering: Node, pacs: Pacs, engine: FakeEngine
) -> None:
    before = drafted(remembering, frontal("before", "20240102"))
    judge(remembering, before, "accept")
    now = drafted(remembering, frontal("now", "20240203"))
    assert engine.given[1]["previous_report"].endswith("Impression: No acute finding.")
    assert "previous_report" in detail(remembering, now)
    report = pacs.received[1]
    (sentence,) = [text for text in texts(report) if "2024-01-02" in text]
    assert "has not seen the film of that day" in sentence
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == before.StudyInstanceUID


def test_an_edited_report_is_given_in_the_readers_words(
    remembering: Node, engine: FakeEngine
) -> None:
    before = drafted(remembering, frontal("before", "20240102"))
    words = {"findings": ("Mrs. Weaver: effusion.",), "impression": ("Small effusion.",)}
    judge(remembering, before, "edit", **words)
    wait_for_state(remembering, before, "DONE", "DONE")
    drafted(remembering, frontal("now", "20240203"))
    given = engine.given[-1]["previous_report"]
    assert given == "Findings: effusion. Impression: Small effusion."


@pytest.mark.parametrize(
    ("verdicts", "changes", "why"),
    [
        ((), {}, "no earlier report of the patient was accepted or edited here"),
        (("reject",), {}, "no earlier report"),
        (("accept", "reject"), {}, "no earlier report"),
        (("accept",), {"PatientID": "8"}, "no earlier report"),
        (("accept",), {"IssuerOfPatientID": "B"}, "no earlier report"),
        (("accept",), {"PatientBirthDate": "19600101"}, "the answers are of other patients"),
        (("accept",), {"StudyDate": "20240101"}, "no study of films is earlier"),
        (("accept",), {"StudyDate": ""}, "the study has no date"),
        (("accept",), {"PatientID": ""}, "the study has no Patient ID"),
    ],
)
def test_no_other_report_is_given(
    verdicts: tuple[str, ...],
    changes: dict[str, str],
    why: str,
    remembering: Node,
    engine: FakeEngine,
) -> None:
    before = drafted(remembering, frontal("before", "20240102"))
    for verdict in verdicts:
        judge(remembering, before, verdict)
    now = drafted(remembering, frontal("now", **{"StudyDate": "20240203", **changes}))
    assert "previous_report" not in engine.given[1]
    assert f"previous_report left out: {why}" in detail(remembering, now)


def test_earlier_reports_are_not_given_unless_a_site_asks_for_it(
    start_node: Start, engine: FakeEngine
) -> None:
    node = start_node()
    judge(node, drafted(node, frontal("before", "20240102")), "accept")
    drafted(node, frontal("now", "20240203"))
    assert "previous_report" not in engine.given[1]


def test_lateral_films_are_tried_by_their_labels() -> None:
    labels = {"1": "", "2": "LL", "3": "PA", "4": "AP", "5": "LATERAL", "6": ""}
    films = [facts(sop_instance_uid=name, view_position=view) for name, view in labels.items()]
    choice = choose_lateral(films, "1")
    assert [one.sop_instance_uid for one in choice.candidates] == ["2", "5", "6"]


def test_the_guard_lets_a_lateral_film_be_unfamiliar_but_not_turned() -> None:
    seen = Inspection(False, "lateral", (FOREIGN, LATERAL), {})
    assert as_lateral(seen).accepted
    assert as_lateral(replace(seen, reasons=(*seen.reasons, TURNED))).reasons == (TURNED,)
    assert not as_lateral(Inspection(True, FRONTAL, (), {})).accepted
