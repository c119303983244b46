"""Successors that people bring about: unverified as ever, after the draft that they follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from engine.bundle import device_uid_of
from node.app import Node
from node.database import open_ledger
from node.drafted_text import parts_of
from node.feedback import Feedback
from node.models import Models
from node.pipeline import Pipeline
from node.questions import Questions
from node.records import Claim
from node.retention import Retention
from node.reviews import NoSuccessor, Reviews
from node.schema import feedback, instance, question, result, revision, study
from node.sr_document import BANNER
from node.sr_narrative import Words
from node.sr_review import ASKED, EDITED, lines_of
from node.transactions import reading, writing
from node.web.visits import Visits
from tests.fakes import FakeEngine, ManualClock, PlainRenderer
from tests.films import phantom, uid
from tests.node.conftest import Pacs, send, wait_for, wait_for_state

Start = Callable[..., Node]


@pytest.fixture
def drafted(start_node: Start) -> tuple[Node, Dataset]:
    node, ds = start_node(), phantom("reviewed")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    return node, ds


def edit(node: Node, ds: Dataset, generation: int = 1, **changes: Any) -> int | None:
    words = {"findings": ("The heart is large.",), "impression": ("Cardiomegaly.",)}
    values = {"reasons": ("omission",), "by": "reader", "at": node._clock.now()} | words | changes
    given = Feedback(ds.StudyInstanceUID, generation, "edit", **values)
    return Reviews(node._database).keep(given)


def texts(report: Dataset) -> list[str]:
    """Return every text of a report, sections in order."""
    sections = [item for item in report.ContentSequence if item.ValueType == "CONTAINER"]
    return [item.TextValue for section in sections for item in section.ContentSequence]


def predecessor(report: Dataset) -> str:
    (study,) = report.PredecessorDocumentsSequence
    (one,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    return str(one.ReferencedSOPInstanceUID)


def test_an_edit_becomes_an_unverified_successor_in_the_readers_words(
    drafted: tuple[Node, Dataset], pacs: Pacs, engine: FakeEngine
) -> None:
    node, ds = drafted
    assert edit(node, ds) == 2
    wait_for_state(node, ds, "DONE", "DONE")
    first, second = pacs.received
    said = [text for text in texts(second) if not text.startswith("Disagreement")]
    assert said == [EDITED, "The heart is large.", EDITED, "Cardiomegaly.", EDITED]
    assert texts(first)[0] == BANNER
    assert predecessor(second) == first.SOPInstanceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    flags = ("VerificationFlag", "PreliminaryFlag", "CompletionFlag", "ContentQualification")
    assert [second[name].value for name in flags] == [first[name].value for name in flags]
    assert second.VerificationFlag == "UNVERIFIED"
    (author,) = second.AuthorObserverSequence
    assert author.ObserverType == "DEV"
    assert "VerifyingObserverSequence" not in second
    assert "reader" not in str(second)
    assert engine.num_reports == 1


def test_a_retried_revision_has_the_same_bytes(drafted: tuple[Node, Dataset]) -> None:
    node, ds = drafted
    edit(node, ds)
    wait_for_state(node, ds, "DONE", "DONE")
    made = node.journal.study(ds.StudyInstanceUID)[1]
    ready_at = next(step["at"] for step in made["timeline"] if step["name"] == "ready")
    files = (node.settings.node.storage.root / "outputs").rglob("*.dcm")
    before = {path: path.read_bytes() for path in files}
    reviews = Reviews(node._database)
    outputs, clock = node.settings.outputs, node._clock
    pipeline = Pipeline(
        Models(FakeEngine()), PlainRenderer(), outputs, node._spool, clock, revisions=reviews
    )
    claim = Claim(ds.StudyInstanceUID, 2, "key", ready_at, 2, "another", FakeEngine.digest)
    pipeline.draft_study(claim, node._ledger.instances(ds.StudyInstanceUID, 2))
    assert {path: path.read_bytes() for path in before} == before


def test_a_correction_names_the_model_that_wrote_the_draft(
    drafted: tuple[Node, Dataset], start_node: Start, pacs: Pacs
) -> None:
    node, ds = drafted
    node.stop()
    retrained = FakeEngine()
    retrained.digest = "cd" * 32  # type: ignore[misc]
    retrained.device_uid = "2.25.271828"  # type: ignore[misc]
    again = Node(node.settings, retrained)
    again.start()
    try:
        edit(again, ds)
        wait_for_state(again, ds, "DONE", "DONE")
    finally:
        again.stop()
    first, second = pacs.received
    assert predecessor(second) == first.SOPInstanceUID
    assert second.DeviceSerialNumber == first.DeviceSerialNumber
    assert second.AuthorObserverSequence[0].DeviceUID == device_uid_of(FakeEngine.digest)


def test_an_edit_of_an_older_draft_is_kept_and_makes_no_successor(
    drafted: tuple[Node, Dataset], pacs: Pacs
) -> None:
    node, ds = drafted
    edit(node, ds)
    wait_for_state(node, ds, "DONE", "DONE")
    assert edit(node, ds, 1, findings=("Other.",)) is None
    assert len(Reviews(node._database).of_study(ds.StudyInstanceUID)) == 2
    assert edit(node, ds, 2, findings=("Third.",)) == 3
    wait_for_state(node, ds, "DONE", "DONE", "DONE")
    assert predecessor(pacs.received[2]) == pacs.received[1].SOPInstanceUID


def test_an_image_that_comes_late_never_joins_a_persons_words(
    start_node: Start, pacs: Pacs, engine: FakeEngine
) -> None:
    node, ds = start_node(), phantom("joined")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    engine.may_answer.clear()
    busy = phantom("busy")
    send(node, busy)
    wait_for_state(node, busy, "RUNNING")
    assert edit(node, ds) == 2
    send(node, phantom("joined", SOPInstanceUID=uid("instance", "late")))
    engine.may_answer.set()
    wait_for_state(node, ds, "DONE", "DONE", "DONE")
    third = [made for made in pacs.received if made.StudyInstanceUID == ds.StudyInstanceUID][2]
    assert texts(third)[0] == BANNER


def test_answers_are_added_once_and_stay_through_an_edit(
    drafted: tuple[Node, Dataset], pacs: Pacs
) -> None:
    node, ds = drafted
    reviews, study_uid = Reviews(node._database), ds.StudyInstanceUID
    with pytest.raises(NoSuccessor, match="every answer"):
        reviews.add_answers(study_uid, node._clock.now())
    asked = node._questions.ask(study_uid, "Is it large?", by="reader", now=node._clock.now())
    wait_for(lambda: node._questions.find(study_uid, asked.id).answer)
    assert reviews.add_answers(study_uid, node._clock.now()) == 2
    wait_for_state(node, ds, "DONE", "DONE")
    with pytest.raises(NoSuccessor, match="every answer"):
        reviews.add_answers(study_uid, node._clock.now())
    edit(node, ds, 2)
    wait_for_state(node, ds, "DONE", "DONE", "DONE")
    _, second, third = pacs.received
    assert texts(second)[-2:] == [ASKED, texts(third)[-1]]
    assert texts(third)[-3:-1] == [EDITED, ASKED]
    assert texts(third)[-1].startswith("Question: Is it large? Answer: The mean")


def test_an_answer_about_one_film_is_not_told_of_another(database: sa.Engine) -> None:
    reviews, questions = Reviews(database), Questions(database)
    for generation, film in ((1, "1.2.3.4"), (2, "1.2.3.5")):
        if generation == 2:
            with writing(database) as connection:
                row = connection.execute(sa.select(study)).one()
                connection.execute(study.insert().values({**row._mapping, "generation": 2}))
                values = {"study_uid": "1.2.3", "generation": 2, "finished_at": 4.0}
                content = CONTENT | {"source": film}
                connection.execute(result.insert().values(**values, content=content))
        questions.ask("1.2.3", f"Film {generation}?", by="reader", now=3.0)
        claimed = questions.claim(3.0, lease_s=9)
        assert claimed is not None
        questions.answer(claimed, "Yes.", {"source": film}, 4.0)
    assert reviews.uncarried() == ("1.2.3",)
    generation = reviews.add_answers("1.2.3", 5.0)
    revision = reviews.revision("1.2.3", generation)
    assert revision is not None
    assert revision.answers == (("Film 2?", "Yes."),)
    first, second = questions.of_study("1.2.3")
    assert (first.carried_by, second.carried_by) == (None, 3)


def test_every_channel_says_what_people_added(drafted: tuple[Node, Dataset]) -> None:
    node, ds = drafted
    edit(node, ds)
    revision = Reviews(node._database).revision(ds.StudyInstanceUID, 2)
    assert revision is not None
    words = Words((), (), addendum=tuple(lines_of(revision.review)))
    *_, addendum = parts_of(words)
    assert (addendum.heading, addendum.code.value) == ("Addendum", "55107-7")
    assert list(addendum.sentences) == [EDITED]


def test_a_correction_is_set_beside_what_the_classifier_saw(drafted: tuple[Node, Dataset]) -> None:
    node, ds = drafted
    edit(node, ds, findings=("There is a large pleural effusion.",))
    wait_for_state(node, ds, "DONE", "DONE")
    before, after = (
        row["result"]["assessments"] for row in node.journal.study(ds.StudyInstanceUID)
    )
    changed = {one["finding"]: one for one in after}["Pleural Effusion"]
    assert (changed["text"], changed["agrees"]) == ("present", False)
    assert [one["certainty"] for one in before] == [one["certainty"] for one in after]


def test_a_study_that_goes_takes_its_questions_and_feedback_along(
    drafted: tuple[Node, Dataset], tmp_path: Path
) -> None:
    node, ds = drafted
    asked = node._questions.ask(ds.StudyInstanceUID, "Is it?", by="reader", now=1.0)
    wait_for(lambda: node._questions.find(ds.StudyInstanceUID, asked.id).answer)
    edit(node, ds)
    wait_for_state(node, ds, "DONE", "DONE")
    clock = ManualClock(node._clock.now() + 40 * 86_400)
    retention = Retention(node.settings.node.storage, node._database, clock)
    while retention.step():
        pass
    with reading(node._database) as connection:
        for table in (question, feedback, revision):
            count = sa.select(sa.func.count()).select_from(table)
            assert connection.execute(count).scalar() == 0
    assert list(Reviews(node._database).training_rows()) == []


CONTENT = {
    "source": "1.2.3.4",
    "findings": ["One."],
    "impression": [],
    "report": {"bundle_digest": "ab" * 32, "prompt_version": "1"},
}


@pytest.fixture
def database(url: sa.URL) -> Iterator[sa.Engine]:
    """A ledger of either kind with one study whose draft has been delivered."""
    engine = open_ledger(url)
    place = {"study_uid": "1.2.3", "generation": 1}
    times = {"first_at": 1.0, "last_at": 1.0, "ready_at": 1.0}
    arrived = dict.fromkeys(
        ("transfer_syntax_uid", "patient_digest", "content_digest", "path", "peer"), ""
    )
    image = {"sop_instance_uid": "1.2.3.4", "series_uid": "1.2", "sop_class_uid": "1"}
    with writing(engine) as connection:
        connection.execute(study.insert().values(**place, **times, key="k", state="DONE", peer="p"))
        connection.execute(result.insert().values(**place, content=CONTENT, finished_at=2.0))
        connection.execute(
            instance.insert().values(**place, **image, **arrived, num_bytes=1, received_at=1.0)
        )
    yield engine
    engine.dispose()


def test_both_kinds_of_ledger_keep_reviews(database: sa.Engine) -> None:
    reviews, questions = Reviews(database), Questions(database)
    asked = questions.ask("1.2.3", "Is it?", by="reader", now=3.0)
    claimed = questions.claim(3.0, lease_s=9)
    assert claimed is not None
    assert reviews.uncarried() == ()
    assert questions.answer(claimed, "It is.", {}, 4.0)
    assert reviews.uncarried() == ("1.2.3",)
    assert reviews.add_answers("1.2.3", 5.0) == 2
    assert reviews.uncarried() == ()
    kept = questions.find("1.2.3", asked.id)
    assert kept is not None
    assert kept.carried_by == 2
    revision = reviews.revision("1.2.3", 2)
    assert revision is not None
    assert (revision.findings, revision.answers) == (None, (("Is it?", "It is."),))
    assert reviews.revision("1.2.3", 1) is None
    with pytest.raises(NoSuccessor, match="on its way"):
        reviews.add_answers("1.2.3", 6.0)
    given = Feedback("1.2.3", 1, "edit", ("style",), "reader", 7.0, ("Two.",), ())
    assert reviews.keep(given) is None
    (row,) = reviews.training_rows()
    assert (row["edited"], row["draft"]["findings"]) == (
        {"findings": ["Two."], "impression": []},
        ["One."],
    )
    Visits(database, ManualClock()).note("viewed", "reader", "10.0.0.1", "1.2.3")
