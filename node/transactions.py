"""Transactions of the ledger, and the steps that several of them share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.exc import SQLAlchemyError

from node.errors import LedgerError, UnknownName
from node.records import Stage
from node.schema import event, study
from node.studies import State, may_move

_LATEST = (
    sa.select(study)
    .where(study.c.study_uid == sa.bindparam("uid"))
    .order_by(study.c.generation.desc())
    .limit(1)
)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction; any fault of the database becomes a `LedgerError`."""
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger failed: {type(error).__name__}") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a read transaction; it waits for no writer."""
    try:
        with engine.connect().execution_options(reading=True) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger failed: {type(error).__name__}") from error


def note(connection: Connection, study_uid: str, generation: int, stage: Stage) -> None:
    """Add a step to a study's timeline."""
    connection.execute(
        event.insert().values(
            at=stage.at,
            study_uid=study_uid,
            generation=generation,
            name=stage.name,
            detail=stage.detail,
        )
    )


def is_generation(study_uid: str, generation: int) -> sa.ColumnElement[bool]:
    """Return the condition that picks one generation of a study."""
    return sa.and_(study.c.study_uid == study_uid, study.c.generation == generation)


def latest_generation(connection: Connection, study_uid: str) -> Row[tuple[Any, ...]] | None:
    """Return the latest generation of a study, None where the study is not known."""
    return connection.execute(_LATEST, {"uid": study_uid}).one_or_none()


def known_generation(connection: Connection, study_uid: str) -> Row[Any]:
    """Return the latest generation of a study.

    Raises
    ------
    UnknownName
        There is no such study.
    """
    latest = latest_generation(connection, study_uid)
    if latest is None:
        raise UnknownName("there is no such study", hint="`cxr-node status` lists them")
    return latest


def move(
    connection: Connection, study_uid: str, generation: int, end: State, **values: object
) -> None:
    """Take a study from its state to another, if the transition table allows it."""
    where = is_generation(study_uid, generation)
    start = connection.execute(sa.select(study.c.state).where(where)).scalar_one()
    if not may_move(State(start), end):
        raise LedgerError(f"a study cannot go from {start} to {end}")
    connection.execute(study.update().where(where).values(state=end, **values))
