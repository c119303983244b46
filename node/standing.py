"""How the node stands, as far as the ledger knows: what waits, what is due where, what was ended.

One reading for metrics, alerts, pages and `cxr-node status`. Cheap: counts over indexed columns,
and of the timeline the newest rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.records import DeliveryStatus
from node.schema import commitment, delivery, event, feedback, output, question, result, study
from node.studies import State
from node.transactions import reading

RECENT_S: Final = 3600.0
_NEWEST_EVENTS = 20_000


@dataclass(frozen=True)
class Destination:
    """How deliveries to one destination go."""

    pending: int = 0
    sent: int = 0
    committed: int = 0
    parked: int = 0
    commitments: int = 0
    """Objects that it has been sent and has still to commit to."""
    last_success_at: float | None = None
    failing_since: float | None = None
    """Since when a draft waits that was tried in vain and nothing came through; None: it is up."""

    def counts(self) -> dict[str, int]:
        """Return the objects by where they stand."""
        return {
            "pending": self.pending,
            "sent": self.sent,
            "committed": self.committed,
            "parked": self.parked,
        }

    @property
    def is_up(self) -> bool:
        """Tell whether what is sent there arrives, as far as it was tried."""
        return self.failing_since is None

    def down_s(self, now: float) -> float:
        """Return for how many seconds nothing has come through."""
        return 0.0 if self.failing_since is None else max(0.0, now - self.failing_since)


@dataclass(frozen=True)
class Standing:
    """One reading of the ledger."""

    at: float
    studies: Mapping[str, int]
    """Generations of studies by state."""
    oldest_ready_at: float | None
    destinations: Mapping[str, Destination]
    questions: Mapping[str, int]
    verdicts: Mapping[tuple[str, str], int]
    """Verdicts of readers by bundle and verdict."""
    recent: Mapping[str, int]
    """Drafts that were made within the last hour, or came to nothing: drafted, skipped, failed."""

    @property
    def queue_length(self) -> int:
        """The number of studies that wait for a worker."""
        return self.studies.get(State.READY, 0)

    @property
    def queue_age_s(self) -> float:
        """How long the first of them has waited, in seconds."""
        return 0.0 if self.oldest_ready_at is None else max(0.0, self.at - self.oldest_ready_at)

    @property
    def num_recent(self) -> int:
        """The number of such studies."""
        return sum(self.recent.values())

    @property
    def failed_share(self) -> float:
        """The share of them that failed."""
        return self.recent.get("failed", 0) / self.num_recent if self.num_recent else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what people are shown, JSON-ready."""
        return {
            "studies": dict(self.studies),
            "queue_length": self.queue_length,
            "queue_age_s": round(self.queue_age_s, 1),
            "destinations": {
                name: {"is_up": one.is_up, **asdict(one)} for name, one in self.destinations.items()
            },
            "questions": dict(self.questions),
            "last_hour": dict(self.recent),
        }


class StandingReader:
    """Reads the standing from the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, now: float) -> Standing:
        """Return the standing of now.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        with reading(self._engine) as connection:
            return Standing(
                now,
                _states(connection),
                _oldest_ready_at(connection),
                _destinations(connection),
                _questions(connection),
                _verdicts(connection),
                _recent(connection, now),
            )


def _states(connection: Connection) -> dict[str, int]:
    query = sa.select(study.c.state, sa.func.count()).group_by(study.c.state)
    found = {str(state): int(number) for state, number in connection.execute(query)}
    return {str(state): found.get(state, 0) for state in State}


def _oldest_ready_at(connection: Connection) -> float | None:
    query = sa.select(sa.func.min(study.c.ready_at)).where(study.c.state == State.READY)
    return connection.execute(query).scalar()


def _destinations(connection: Connection) -> dict[str, Destination]:
    """Return every destination that something was ever due at, while the ledger remembers it."""
    rows = connection.execute(
        sa.select(
            delivery.c.destination,
            delivery.c.status,
            sa.func.count(),
            sa.func.max(delivery.c.sent_at),
        ).group_by(delivery.c.destination, delivery.c.status)
    ).all()
    waits = dict(_waiting_since(connection))
    commitments = dict(_commitments(connection))
    names = sorted({str(row.destination) for row in rows})
    found = {}
    for name in names:
        of_it = [row for row in rows if row.destination == name]
        counts = {DeliveryStatus(row.status).value: int(row[2]) for row in of_it}
        sent_at = max((row[3] for row in of_it if row[3] is not None), default=None)
        found[name] = Destination(
            **counts,
            commitments=commitments.get(name, 0),
            last_success_at=sent_at,
            failing_since=_failing_since(waits.get(name), sent_at),
        )
    return found


def _failing_since(waits_since: float | None, sent_at: float | None) -> float | None:
    """Return since when nothing has come through, where something was tried in vain."""
    return None if waits_since is None else max(waits_since, sent_at or 0.0)


def _waiting_since(connection: Connection) -> list[tuple[str, float]]:
    """Return the destinations at which attempts failed, and since when the first draft waits."""
    query = (
        sa.select(delivery.c.destination, sa.func.min(result.c.finished_at))
        .join_from(delivery, output)
        .join(
            result,
            sa.and_(
                result.c.study_uid == output.c.study_uid,
                result.c.generation == output.c.generation,
            ),
        )
        .where(delivery.c.status == DeliveryStatus.PENDING, delivery.c.attempts > 0)
        .group_by(delivery.c.destination)
    )
    return [(str(name), float(at)) for name, at in connection.execute(query)]


def _commitments(connection: Connection) -> list[tuple[str, int]]:
    query = (
        sa.select(commitment.c.destination, sa.func.count())
        .join(
            delivery,
            sa.and_(
                delivery.c.sop_instance_uid == commitment.c.sop_instance_uid,
                delivery.c.destination == commitment.c.destination,
            ),
        )
        .where(delivery.c.status == DeliveryStatus.SENT)
        .group_by(commitment.c.destination)
    )
    return [(str(name), int(number)) for name, number in connection.execute(query)]


def _questions(connection: Connection) -> dict[str, int]:
    is_open = question.c.answered_at.is_(None)
    query = sa.select(
        sa.func.count(),
        sa.func.count().filter(is_open),
        sa.func.count().filter(sa.not_(is_open), question.c.answer.is_not(None)),
    )
    total, waiting, answered = connection.execute(query).one()
    return {"open": waiting, "answered": answered, "given_up": total - waiting - answered}


def _verdicts(connection: Connection) -> dict[tuple[str, str], int]:
    report = result.c.content["report"]
    bundle = (report["bundle_name"].as_string(), report["bundle_version"].as_string())
    query = (
        sa.select(*bundle, feedback.c.verdict, sa.func.count())
        .join_from(
            feedback,
            result,
            sa.and_(
                result.c.study_uid == feedback.c.study_uid,
                result.c.generation == feedback.c.generation,
            ),
        )
        .group_by(*bundle, feedback.c.verdict)
    )
    rows = connection.execute(query)
    return {(f"{name} {version}", str(verdict)): n for name, version, verdict, n in rows}


def _recent(connection: Connection, now: float) -> dict[str, int]:
    """Count what became of studies in the last hour, among so many of the newest rows."""
    newest = connection.execute(sa.select(sa.func.max(event.c.id))).scalar() or 0
    ends = ("drafted", "skipped", "failed")
    query = (
        sa.select(event.c.name, sa.func.count())
        .where(
            event.c.id > newest - _NEWEST_EVENTS,
            event.c.at > now - RECENT_S,
            event.c.name.in_(ends),
        )
        .group_by(event.c.name)
    )
    found = {str(name): int(number) for name, number in connection.execute(query)}
    return {name: found.get(name, 0) for name in ends}
