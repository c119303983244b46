"""Questions: due until they are answered, and given up after so many attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from engine.scheduler import Urgency
from node.app import Node
from node.database import open_ledger
from node.questions import MAX_CHARACTERS, Question, QuestionRefused, Questions, checked
from node.schema import result
from node.transactions import writing
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, send, settings_for, wait_for, wait_for_state

Start = Callable[..., Node]
STUDY = "1.2.3"


@pytest.fixture
def questions(url: sa.URL) -> Iterator[Questions]:
    engine = open_ledger(url)
    with writing(engine) as connection:
        row = {"study_uid": STUDY, "generation": 2, "content": {}, "finished_at": 1.0}
        connection.execute(result.insert().values(**row))
    yield Questions(engine)
    engine.dispose()


def test_a_question_is_about_the_newest_draft(questions: Questions) -> None:
    asked = questions.ask(STUDY, " Is the\theart\nlarge? ", by="reader", now=5.0)
    assert (asked.generation, asked.text, asked.state) == (2, "Is the heart large?", "waiting")
    assert questions.of_study(STUDY) == (asked,)
    assert questions.find(STUDY, asked.id) == asked
    assert questions.find("other", asked.id) is None


def test_a_study_without_a_draft_is_not_asked_about(questions: Questions) -> None:
    with pytest.raises(QuestionRefused, match="no draft"):
        questions.ask("1.2.4", "Why?", by="reader", now=5.0)


def test_a_question_that_was_taken_is_due_again_after_its_lease(questions: Questions) -> None:
    questions.ask(STUDY, "Why?", by="reader", now=5.0)
    first = questions.claim(5.0, lease_s=10)
    assert first is not None
    assert questions.claim(14.0, lease_s=10) is None
    second = questions.claim(15.0, lease_s=10)
    assert second is not None
    assert (second.id, second.attempts) == (first.id, 2)
    assert not questions.answer(first, "late", {}, 16.0)
    assert questions.answer(second, "Because.", {"seed": None}, 16.0)
    assert not questions.give_up(second, "too late", 17.0)
    (kept,) = questions.of_study(STUDY)
    assert (kept.answer, kept.provenance, kept.state) == ("Because.", {"seed": None}, "answered")


def test_questions_are_answered_in_their_order(questions: Questions) -> None:
    texts = ["One?", "Two?", "Three?"]
    for at, text in enumerate(texts):
        questions.ask(STUDY, text, by="reader", now=float(at))
    taken = [questions.claim(9.0, lease_s=10) for _ in range(4)]
    assert [one and one.text for one in taken] == [*texts, None]
    questions.recover(9.0)
    assert questions.claim(9.0, lease_s=10) is not None


@given(st.text(max_size=2 * MAX_CHARACTERS))
def test_a_question_is_one_printable_line_or_refused(text: str) -> None:
    with suppress(QuestionRefused):
        line = checked(text)
        assert line.isprintable()
        assert 0 < len(line) <= MAX_CHARACTERS
        assert checked(line) == line


def test_the_model_answers_about_the_film_of_the_draft(
    start_node: Start, engine: FakeEngine
) -> None:
    node, ds = start_node(), phantom("asked")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    asked = _ask(node, ds.StudyInstanceUID)
    done = wait_for(lambda: _ended(node, asked))
    finding = node.journal.study(ds.StudyInstanceUID)[0]["result"]["findings"][0]
    assert done.answer == finding
    assert done.provenance["bundle_digest"] == FakeEngine.digest
    assert done.provenance["source"] == ds.SOPInstanceUID
    assert engine.urgencies == [Urgency.STAT], "a person waits"


def test_a_question_that_cannot_be_answered_says_why_after_its_attempts(
    start_node: Start, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.answering._RETRY_S", 0.01)
    node, ds = start_node(), phantom("fails")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    engine.fails = True
    asked = _ask(node, ds.StudyInstanceUID)
    done = wait_for(lambda: _ended(node, asked))
    assert (done.state, done.attempts) == ("failed", 3)
    assert "told to fail" in done.reason


def test_a_film_that_has_gone_is_not_made_up(start_node: Start) -> None:
    node, ds = start_node(work={"sweep_s": 0.05, "max_attempts": 1}), phantom("gone")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    for path in (node.settings.node.storage.root / "images").rglob("*.dcm"):
        path.unlink()
    asked = _ask(node, ds.StudyInstanceUID)
    done = wait_for(lambda: _ended(node, asked))
    assert done.state == "failed"
    assert "cannot be read" in done.reason


def test_a_question_outlives_a_restart(start_node: Start, pacs: Pacs, engine: FakeEngine) -> None:
    node, ds = start_node(), phantom("restart")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    node.stop()
    database = open_ledger(sa.URL.create("sqlite", database=_ledger(node)))
    questions = Questions(database)
    asked = questions.ask(ds.StudyInstanceUID, "Still?", by="reader", now=1.0)
    assert questions.claim(2.0, lease_s=1e9) is not None
    database.dispose()
    again = start_node(node.settings)
    assert wait_for(lambda: _ended(again, asked)).answer


def test_answers_go_into_a_successor_where_the_site_wants_it(
    start_node: Start, pacs: Pacs, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "auto", pacs.port)
    report = settings.outputs.report.model_copy(update={"answers": True})
    outputs = settings.outputs.model_copy(update={"report": report})
    node, ds = start_node(settings.model_copy(update={"outputs": outputs})), phantom("auto")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    _ask(node, ds.StudyInstanceUID)
    wait_for_state(node, ds, "DONE", "DONE")
    first, second = pacs.received
    assert "Addendum" not in str(first)
    assert (
        "Question: Is it? Answer: The mean"
        in second.ContentSequence[-1].ContentSequence[-1].TextValue
    )


def _ledger(node: Node) -> str:
    return str(node.settings.node.storage.root / "ledger.sqlite")


def _ask(node: Node, study_uid: str) -> Question:
    return node._questions.ask(study_uid, "Is it?", by="reader", now=node._clock.now())


def _ended(node: Node, asked: Question) -> Question | None:
    now = node._questions.find(asked.study_uid, asked.id)
    return now if now and now.state != "waiting" else None
