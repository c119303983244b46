"""What the ledger can tell: the list of studies, one study's timeline, who was turned away."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from engine.results import bundle_of
from node.errors import UnknownName
from node.records import Rejection
from node.redact import patient_digest
from node.schema import delivery, event, instance, output, rejection, result, study
from node.transactions import reading, writing

_KEPT_REJECTIONS = 1000
_NUM_IMAGES = (
    sa.select(sa.func.count())
    .where(instance.c.study_uid == study.c.study_uid, instance.c.generation <= study.c.generation)
    .scalar_subquery()
    .label("num_images")
)


class Journal:
    """Questions about the past; the answers are JSON-ready and hold no patient data."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note_rejection(self, turned_away: Rejection, now: float) -> None:
        """Keep who was turned away and why; only the latest thousand."""
        with writing(self._engine) as connection:
            newest = connection.execute(
                rejection.insert().values(**vars(turned_away), at=now)
            ).inserted_primary_key
            connection.execute(
                rejection.delete().where(rejection.c.id <= (newest or (0,))[0] - _KEPT_REJECTIONS)
            )

    def rejections(self, *, limit: int = 20) -> list[dict[str, Any]]:
        """Return the latest rejections, newest first."""
        return self._rows(sa.select(rejection).order_by(rejection.c.id.desc()).limit(limit))

    def studies(
        self, *, limit: int = 50, state: str | None = None, text: str = ""
    ) -> list[dict[str, Any]]:
        """Return the latest generations of studies, newest first.

        Parameters
        ----------
        state
            Only those in it.
        text
            Only those of a Patient ID, of a Study Instance UID or its beginning, of a log key, or
            that a peer sent.
        """
        columns = (study.c.study_uid, study.c.generation, study.c.key, study.c.state)
        more = (study.c.reason, study.c.peer, study.c.first_at, study.c.last_at, study.c.priority)
        query = sa.select(*columns, *more, _NUM_IMAGES)
        if state:
            query = query.where(study.c.state == state)
        if text:
            query = query.where(_speaks_of(text))
        newest_first = (study.c.last_at.desc(), study.c.generation.desc())
        return self._rows(query.order_by(*newest_first).limit(limit))

    def last_images(self) -> dict[str, float]:
        """Return when each peer last sent an image."""
        query = sa.select(instance.c.peer, sa.func.max(instance.c.received_at))
        with reading(self._engine) as connection:
            rows = connection.execute(query.group_by(instance.c.peer))
            return {str(peer): float(at) for peer, at in rows}

    def find(self, name: str) -> str:
        """Return the Study Instance UID meant by a UID or by the key that logs show.

        Raises
        ------
        UnknownName
            No study of that name was ever received.
        """
        query = sa.select(study.c.study_uid).where(
            sa.or_(study.c.study_uid == name, study.c.key == name)
        )
        with reading(self._engine) as connection:
            found = connection.execute(query).scalars().first()
        if found is None:
            raise UnknownName("there is no such study", hint="`cxr-node status` lists them")
        return str(found)

    def study(self, study_uid: str) -> list[dict[str, Any]]:
        """Return every generation of a study with its timeline, outputs and deliveries."""
        generations = self._rows(
            sa.select(
                study.c.study_uid,
                study.c.generation,
                study.c.key,
                study.c.state,
                study.c.reason,
                study.c.peer,
                study.c.attempts,
                study.c.priority,
                study.c.called_aet,
                _NUM_IMAGES,
            )
            .where(study.c.study_uid == study_uid)
            .order_by(study.c.generation)
        )
        for row in generations:
            row["timeline"] = self._timeline(study_uid, row["generation"])
            row["outputs"] = self._outputs(study_uid, row["generation"])
            row["result"] = self._result(study_uid, row["generation"])
            row["bundle"] = row["result"] and bundle_of(row["result"]["report"])
        return generations

    def _timeline(self, study_uid: str, generation: int) -> list[dict[str, Any]]:
        """Return the steps of a generation, each with milliseconds since the first."""
        steps = self._rows(
            sa.select(event.c.at, event.c.name, event.c.detail)
            .where(event.c.study_uid == study_uid, event.c.generation == generation)
            .order_by(event.c.at, event.c.id)
        )
        for step in steps:
            step["ms"] = round((step["at"] - steps[0]["at"]) * 1000, 1)
        return steps

    def _outputs(self, study_uid: str, generation: int) -> list[dict[str, Any]]:
        """Return the objects of a generation, one row for each destination."""
        columns = (output.c.kind, output.c.sop_instance_uid, output.c.sop_class_uid)
        sending = (delivery.c.destination, delivery.c.status, delivery.c.attempts)
        outcome = (delivery.c.next_at, delivery.c.status_code, delivery.c.reason)
        return self._rows(
            sa.select(*columns, *sending, *outcome)
            .join_from(output, delivery, isouter=True)
            .where(output.c.study_uid == study_uid, output.c.generation == generation)
            .order_by(output.c.kind, delivery.c.destination)
        )

    def _result(self, study_uid: str, generation: int) -> dict[str, Any] | None:
        rows = self._rows(
            sa.select(result.c.content).where(
                result.c.study_uid == study_uid, result.c.generation == generation
            )
        )
        return rows[0]["content"] if rows else None

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with reading(self._engine) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]


def _speaks_of(text: str) -> sa.ColumnElement[bool]:
    """Return the condition that picks studies by what somebody typed."""
    patient_id, _, issuer = text.partition("^^^")
    of_patient = sa.select(instance.c.study_uid).where(
        instance.c.patient_digest == patient_digest(patient_id, issuer)
    )
    return sa.or_(
        study.c.study_uid.startswith(text, autoescape=True),
        study.c.key == text,
        study.c.peer == text,
        study.c.study_uid.in_(of_patient),
    )
