"""What a support bundle tells of the ledger: sizes, and what failed and why. No UID is in it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from node.journal import Journal
from node.records import DeliveryStatus
from node.schema import delivery, metadata, output, study
from node.studies import State
from node.support_mask import without_unknown
from node.transactions import reading

_NUM: Final = 50


def sizes(engine: Engine) -> dict[str, int]:
    """Return the number of rows of each table."""
    with reading(engine) as connection:
        return {
            table.name: connection.execute(
                sa.select(sa.func.count()).select_from(table)
            ).scalar_one()
            for table in metadata.sorted_tables
        }


def failed_studies(engine: Engine) -> list[dict[str, Any]]:
    """Return the latest studies that came to nothing, newest first."""
    columns = (study.c.key, study.c.generation, study.c.state, study.c.reason, study.c.peer)
    query = (
        sa.select(*columns, study.c.attempts, study.c.last_at)
        .where(study.c.state.in_([State.FAILED, State.SKIPPED]))
        .order_by(study.c.last_at.desc())
    )
    return _rows(engine, query)


def failed_deliveries(engine: Engine) -> list[dict[str, Any]]:
    """Return the latest deliveries that were tried in vain, newest first."""
    columns = (output.c.generation, output.c.kind, delivery.c.destination, delivery.c.status)
    more = (delivery.c.attempts, delivery.c.status_code, delivery.c.reason, delivery.c.next_at)
    same = sa.and_(
        study.c.study_uid == output.c.study_uid, study.c.generation == output.c.generation
    )
    query = (
        sa.select(study.c.key, *columns, *more)
        .join_from(delivery, output)
        .join(study, same)
        .where(sa.or_(delivery.c.status == DeliveryStatus.PARKED, delivery.c.reason != ""))
        .order_by(delivery.c.next_at.desc())
    )
    return _rows(engine, query)


def refusals(engine: Engine, titles: Collection[str]) -> list[dict[str, Any]]:
    """Return who was turned away last.

    Parameters
    ----------
    titles
        AE titles that may be named; others appear by their keys.
    """
    rows = Journal(engine).rejections(limit=_NUM)
    return [without_unknown(row, titles) for row in rows]


def _rows(engine: Engine, query: sa.Select[Any]) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return [dict(row) for row in connection.execute(query.limit(_NUM)).mappings()]
