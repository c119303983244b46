"""Reviews in the ledger: feedback on drafts, and the successors that follow from it.

A successor of this kind is a generation like any other, in state READY with its words attached
(`revision`): the worker builds it from the draft before, without asking the model again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.errors import NodeError
from node.feedback import Feedback, training_row
from node.questions import Question
from node.records import Stage
from node.revisions import Revision
from node.schema import feedback, instance, question, result, revision, study
from node.studies import OPEN_TO_IMAGES, State
from node.transactions import latest_generation, note, reading, writing

_ON_ITS_WAY = OPEN_TO_IMAGES | {State.RUNNING}


class NoSuccessor(NodeError):
    """There is no successor of this draft to be made."""


class Reviews:
    """Feedback, revisions, and the drafts that they are about."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def content(self, study_uid: str, generation: int) -> dict[str, Any] | None:
        """Return what a generation came to, None where it has no draft."""
        with reading(self._engine) as connection:
            return _content(connection, study_uid, generation)

    def keep(self, given: Feedback) -> int | None:
        """Keep feedback; return the generation of the successor that an edit makes.

        None where there is none to make: it was no edit, or a newer draft is there or on its way.
        """
        with writing(self._engine) as connection:
            connection.execute(feedback.insert().values(**_row(given)))
            place = (given.study_uid, given.generation)
            note(connection, *place, Stage("feedback", given.at, given.verdict))
            if given.verdict != "edit" or _obstacle(connection, *place):
                return None
            words: dict[str, Any] = {"findings": given.findings, "impression": given.impression}
            return _start(connection, *place, given.at, "edited", **words)

    def add_answers(self, study_uid: str, now: float) -> int:
        """Start a successor of the latest draft that carries all answers; return its number.

        Raises
        ------
        NoSuccessor
            Nothing is answered that the draft does not have, or another draft is on its way.
        """
        with writing(self._engine) as connection:
            base = _latest_draft(connection, study_uid)
            obstacle = _obstacle(connection, study_uid, base)
            if obstacle:
                raise NoSuccessor(obstacle, hint="try again once the newest draft is there")
            if not _lacks_answers(connection, study_uid):
                raise NoSuccessor("the draft has every answer already", hint="ask a question first")
            answered = _answered(connection, study_uid, base)
            answers = [[one.text, one.answer] for one in answered]
            generation = _start(connection, study_uid, base, now, "answers added", answers=answers)
            carried = question.c.id.in_([one.id for one in answered])
            connection.execute(question.update().where(carried).values(carried_by=generation))
        return generation

    def uncarried(self) -> tuple[str, ...]:
        """Return the studies with answers that the newest draft lacks, unless more are to come."""
        waiting = sa.select(question.c.study_uid).where(question.c.answered_at.is_(None))
        due = (
            question.c.answer.is_not(None),
            question.c.carried_by.is_(None),
            question.c.study_uid.not_in(waiting),
        )
        query = sa.select(question.c.study_uid).where(*due).distinct()
        with reading(self._engine) as connection:
            studies = connection.execute(query).scalars().all()
            return tuple(one for one in studies if _lacks_answers(connection, one))

    def revision(self, study_uid: str, generation: int) -> Revision | None:
        """Return what a generation is to be built from, None where the model drafts it."""
        query = sa.select(revision).where(
            revision.c.study_uid == study_uid, revision.c.generation == generation
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
            content = None if row is None else _content(connection, study_uid, row.base)
        if row is None or content is None:
            return None
        pairs = row.answers and tuple((asked, said) for asked, said in row.answers)
        return Revision(content, _tuple(row.findings), _tuple(row.impression), pairs)

    def of_study(self, study_uid: str) -> list[dict[str, Any]]:
        """Return the feedback on a study, the oldest first."""
        query = sa.select(feedback).where(feedback.c.study_uid == study_uid).order_by(feedback.c.id)
        with reading(self._engine) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def training_rows(self) -> Iterator[dict[str, Any]]:
        """Yield all feedback for training, the oldest first."""
        query = (
            sa.select(feedback, result.c.content)
            .join(
                result,
                sa.and_(
                    result.c.study_uid == feedback.c.study_uid,
                    result.c.generation == feedback.c.generation,
                ),
            )
            .order_by(feedback.c.id)
        )
        with reading(self._engine) as connection:
            for row in connection.execute(query).mappings():
                yield training_row(dict(row), row["content"])


def _row(given: Feedback) -> dict[str, Any]:
    values = asdict(given)
    lists = ("reasons", "findings", "impression")
    return values | {name: values[name] and list(values[name]) for name in lists}


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _content(connection: Connection, study_uid: str, generation: int) -> dict[str, Any] | None:
    found: dict[str, Any] | None = connection.execute(
        sa.select(result.c.content).where(
            result.c.study_uid == study_uid, result.c.generation == generation
        )
    ).scalar_one_or_none()
    return found


def _latest_draft(connection: Connection, study_uid: str) -> int:
    query = sa.select(sa.func.max(result.c.generation)).where(result.c.study_uid == study_uid)
    return int(connection.execute(query).scalar() or 0)


def _obstacle(connection: Connection, study_uid: str, base: int) -> str:
    """Return why a draft gets no successor of ours; empty where it does."""
    latest = latest_generation(connection, study_uid)
    if latest is None or not base:
        return "the study has no draft"
    if State(latest.state) in _ON_ITS_WAY:
        return "another draft of the study is on its way"
    if latest.generation != base:
        return "there is a newer generation of the study"
    held = sa.select(instance.c.path).where(instance.c.study_uid == study_uid)
    return "" if connection.execute(held).first() else "the images of the study have been removed"


def _answered(connection: Connection, study_uid: str, generation: int) -> list[Question]:
    """Return what was answered about the film of a draft: another one may show something else."""
    content = _content(connection, study_uid, generation)
    if content is None:
        return []
    query = (
        sa.select(question)
        .where(question.c.study_uid == study_uid, question.c.answer.is_not(None))
        .order_by(question.c.id)
    )
    found = (Question(*row) for row in connection.execute(query))
    return [one for one in found if one.is_about(str(content["source"]))]


def _lacks_answers(connection: Connection, study_uid: str) -> bool:
    base = _latest_draft(connection, study_uid)
    answered = _answered(connection, study_uid, base)
    return [[one.text, one.answer] for one in answered] != _carried(connection, study_uid, base)


def _carried(connection: Connection, study_uid: str, generation: int) -> list[list[str]]:
    """Return the answers that a draft carries already."""
    content = _content(connection, study_uid, generation) or {}
    review = content.get("review") or {}
    return [list(pair) for pair in review.get("answers", ())]


def _start(
    connection: Connection, study_uid: str, base: int, now: float, why: str, **words: Any
) -> int:
    """Make the generation after `base`, ready to be built from these words."""
    latest = connection.execute(
        sa.select(study).where(study.c.study_uid == study_uid, study.c.generation == base)
    ).one()
    generation = base + 1
    values = {**latest._mapping, "generation": generation, "state": State.READY}
    values |= {"ready_at": now, "attempts": 0, "reason": ""}
    connection.execute(study.insert().values(**values))
    lists = {name: value and list(value) for name, value in words.items()}
    place = {"study_uid": study_uid, "generation": generation}
    connection.execute(revision.insert().values(**place, base=base, **lists))
    note(connection, study_uid, generation, Stage("revised", now, why))
    note(connection, study_uid, generation, Stage("ready", now))
    return generation
