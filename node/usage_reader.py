"""The rows of the ledger behind the usage report (`node.usage`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from node.journey import Journey
from node.records import DeliveryStatus, Stage
from node.schema import delivery, event, feedback, instance, output, question, result, study
from node.transactions import reading
from node.usage import Sums, Usage, Way, uptime, verdicts_of

_ROWS_AT_A_TIME = 5_000


class UsageReader:
    """Sums up a stretch of time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, since: float, until: float) -> Usage:
        """Return the report on what came in a stretch of time, and what became of it.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        with reading(self._engine) as connection:
            sums, keys = Sums(), set()
            for journey in _journeys(connection, since, until):
                sums.add(journey)
                keys.add(journey.key)
            num_images, num_bytes = _images(connection, since, until)
            return Usage(
                since,
                until,
                len(keys),
                num_images,
                num_bytes,
                dict(sums.outcomes),
                sums.most_common(),
                {day: dict(counts) for day, counts in sorted(sums.by_day.items())},
                sums.spreads(),
                _ways(connection, since, until),
                verdicts_of(_verdicts(connection, since, until)),
                _questions(connection, since, until),
            )


def _journeys(connection: Connection, since: float, until: float) -> Iterator[Journey]:
    """Yield the journeys of the studies that came then; those whose rows are gone are missing."""
    columns = (study.c.study_uid, study.c.generation, study.c.key, study.c.state, study.c.peer)
    instants = (study.c.first_at, study.c.last_at)
    query = (
        sa.select(*columns, *instants, event.c.name, event.c.at, event.c.detail)
        .join_from(
            study,
            event,
            sa.and_(
                event.c.study_uid == study.c.study_uid,
                event.c.generation == study.c.generation,
            ),
            isouter=True,
        )
        .where(study.c.last_at >= since, study.c.last_at < until)
        .order_by(study.c.study_uid, study.c.generation, event.c.at, event.c.id)
    )
    rows = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)
    for _, group in groupby(rows, key=lambda row: (row.study_uid, row.generation)):
        yield _journey(list(group))


def _journey(rows: list[Row[*tuple[Any, ...]]]) -> Journey:
    first = rows[0]
    stages = [Stage(row.name, row.at, row.detail) for row in rows if row.name is not None]
    return Journey(
        first.key,
        first.generation,
        first.state,
        first.peer,
        first.first_at,
        first.last_at,
        stages,
    )


def _images(connection: Connection, since: float, until: float) -> tuple[int, int]:
    query = sa.select(
        sa.func.count(), sa.func.coalesce(sa.func.sum(instance.c.num_bytes), 0)
    ).where(instance.c.received_at >= since, instance.c.received_at < until)
    number, total = connection.execute(query).one()
    return int(number), int(total)


def _ways(connection: Connection, since: float, until: float) -> dict[str, Way]:
    """Return the deliveries of the drafts that were made then."""
    query = (
        sa.select(
            delivery.c.destination,
            delivery.c.status,
            delivery.c.attempts,
            delivery.c.sent_at,
            result.c.finished_at,
        )
        .join_from(delivery, output)
        .join(
            result,
            sa.and_(
                result.c.study_uid == output.c.study_uid,
                result.c.generation == output.c.generation,
            ),
        )
        .where(result.c.finished_at >= since, result.c.finished_at < until)
    )
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    waits: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query):
        counts[row.destination][row.status] += 1
        in_vain = row.attempts > (0 if row.status == DeliveryStatus.PENDING else 1)
        if in_vain and row.status != DeliveryStatus.PARKED:
            waits[row.destination].append((row.finished_at, row.sent_at or until))
    return {
        name: Way(dict(found), round(uptime(waits[name], since, until), 5))
        for name, found in sorted(counts.items())
    }


def _verdicts(connection: Connection, since: float, until: float) -> list[tuple[str, str]]:
    report = result.c.content["report"]
    query = (
        sa.select(
            report["bundle_name"].as_string(),
            report["bundle_version"].as_string(),
            feedback.c.verdict,
        )
        .join_from(
            feedback,
            result,
            sa.and_(
                result.c.study_uid == feedback.c.study_uid,
                result.c.generation == feedback.c.generation,
            ),
        )
        .where(feedback.c.at >= since, feedback.c.at < until)
    )
    rows = connection.execute(query)
    return [(f"{name} {version}", str(verdict)) for name, version, verdict in rows]


def _questions(connection: Connection, since: float, until: float) -> dict[str, int]:
    query = sa.select(
        sa.func.count(), sa.func.count().filter(question.c.answer.is_not(None))
    ).where(question.c.asked_at >= since, question.c.asked_at < until)
    asked, answered = connection.execute(query).one()
    return {"asked": int(asked), "answered": int(answered)}
