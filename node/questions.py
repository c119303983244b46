"""Questions on the film of a draft, and their answers, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from node.errors import NodeError
from node.schema import question, result
from node.transactions import reading, writing

MAX_CHARACTERS = 500


class QuestionRefused(NodeError):
    """The question is not taken."""


@dataclass(frozen=True)
class Question:
    """One question and what became of it."""

    id: int
    study_uid: str
    generation: int
    text: str
    asked_at: float
    asked_by: str
    attempts: int
    next_at: float
    answer: str | None
    provenance: dict[str, Any] | None
    answered_at: float | None
    reason: str
    carried_by: int | None
    task: dict[str, Any] | None = None
    """The task that it is (`node.offers`), where it is no question in free words."""

    @property
    def state(self) -> str:
        """Return where it stands: waiting, answered or failed."""
        if self.answered_at is None:
            return "waiting"
        return "failed" if self.answer is None else "answered"

    def is_about(self, film: str) -> bool:
        """Tell whether an answer is about a film, named by its SOP Instance UID."""
        return bool((self.provenance or {}).get("source", film) == film)


def checked(text: str) -> str:
    """Return a question as one printable line.

    Raises
    ------
    QuestionRefused
        There is nothing to answer, or too much.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if not line:
        raise QuestionRefused("the question is empty", hint="write what you want to know")
    if len(line) > MAX_CHARACTERS:
        hint = f"use at most {MAX_CHARACTERS} characters"
        raise QuestionRefused("the question is too long", hint=hint)
    return line


class Questions:
    """What was asked, what is due, and what was answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(
        self,
        study_uid: str,
        text: str,
        *,
        by: str,
        now: float,
        task: Mapping[str, Any] | None = None,
    ) -> Question:
        """Take a question on the latest draft of a study; a task with what it is asked with.

        Raises
        ------
        QuestionRefused
            The study has no draft: there is no film that the model may look at.
        """
        line = checked(text)
        with writing(self._engine) as connection:
            latest = sa.select(sa.func.max(result.c.generation)).where(
                result.c.study_uid == study_uid
            )
            generation = connection.execute(latest).scalar()
            if generation is None:
                hint = "ask once its draft is there; a study without one has no film to ask about"
                raise QuestionRefused("the study has no draft", hint=hint)
            values = {"study_uid": study_uid, "generation": generation, "text": line}
            values["task"] = task and dict(task)
            times = {"asked_at": now, "next_at": now, "asked_by": by}
            row = connection.execute(
                question.insert().values(**values, **times).returning(*question.c)
            ).one()
        return Question(*row)

    def find(self, study_uid: str, number: int) -> Question | None:
        """Return one question of a study."""
        query = sa.select(question).where(
            question.c.study_uid == study_uid, question.c.id == number
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Question(*row)

    def of_study(self, study_uid: str) -> tuple[Question, ...]:
        """Return the questions of a study, the oldest first."""
        query = sa.select(question).where(question.c.study_uid == study_uid).order_by(question.c.id)
        with reading(self._engine) as connection:
            return tuple(Question(*row) for row in connection.execute(query))

    def claim(self, now: float, *, lease_s: float) -> Question | None:
        """Take the question that has waited longest; it is due again when the lease is over."""
        waiting = sa.select(question).where(
            question.c.answered_at.is_(None), question.c.next_at <= now
        )
        with writing(self._engine) as connection:
            row = connection.execute(waiting.order_by(question.c.next_at).limit(1)).one_or_none()
            if row is None:
                return None
            taken = connection.execute(
                question.update()
                .where(question.c.id == row.id)
                .values(attempts=row.attempts + 1, next_at=now + lease_s)
                .returning(*question.c)
            ).one()
        return Question(*taken)

    def answer(
        self, claimed: Question, text: str, provenance: Mapping[str, Any], now: float
    ) -> bool:
        """Keep an answer; tell whether the claim was still good."""
        return self._end(claimed, answer=text, provenance=dict(provenance), answered_at=now)

    def give_up(self, claimed: Question, reason: str, now: float) -> bool:
        """End a question that cannot be answered."""
        return self._end(claimed, reason=reason, answered_at=now)

    def postpone(self, claimed: Question, reason: str, until: float) -> bool:
        """Leave a question for another attempt."""
        return self._end(claimed, reason=reason, next_at=until)

    def recover(self, now: float) -> None:
        """Make due what an earlier run had taken; for a node that works on its ledger alone."""
        with writing(self._engine) as connection:
            connection.execute(
                question.update().where(question.c.answered_at.is_(None)).values(next_at=now)
            )

    def _end(self, claimed: Question, **values: object) -> bool:
        still = sa.and_(
            question.c.id == claimed.id,
            question.c.answered_at.is_(None),
            question.c.attempts == claimed.attempts,
        )
        with writing(self._engine) as connection:
            return connection.execute(question.update().where(still).values(**values)).rowcount == 1
