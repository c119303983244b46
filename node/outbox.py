"""The outbox: which object is due at which destination, and what became of each attempt."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.config import OutboxSettings
from node.records import Delivery, DeliveryStatus, Stage, Verdict
from node.schema import delivery, output, study
from node.studies import State
from node.transactions import is_generation, move, note, reading, writing


def backoff_s(attempts: int, rule: OutboxSettings) -> float:
    """Return the wait after a number of failed attempts: exponential, with a ceiling."""
    ceiling = rule.retry_max_s / rule.retry_initial_s
    factor = min(rule.retry_factor ** min(attempts - 1, 64), ceiling)
    return max(rule.retry_initial_s * factor, min(rule.retry_initial_s, rule.retry_max_s))


class Outbox:
    """Deliveries of the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due(self, destination: str, now: float, *, limit: int = 50) -> tuple[Delivery, ...]:
        """Return what is to be sent to a destination now, oldest draft first."""
        query = (
            sa.select(
                delivery.c.sop_instance_uid,
                output.c.sop_class_uid,
                output.c.study_uid,
                output.c.generation,
                delivery.c.destination,
                output.c.kind,
                output.c.path,
                delivery.c.attempts,
                delivery.c.deadline_at,
            )
            .join_from(delivery, output)
            .where(
                delivery.c.destination == destination,
                delivery.c.status == DeliveryStatus.PENDING,
                delivery.c.next_at <= now,
            )
            .order_by(delivery.c.deadline_at, delivery.c.sop_instance_uid)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return tuple(Delivery(*row) for row in connection.execute(query))

    def begin(self, item: Delivery, now: float) -> None:
        """Note that a study's first object goes on its way."""
        with writing(self._engine) as connection:
            where = is_generation(item.study_uid, item.generation)
            state = connection.execute(sa.select(study.c.state).where(where)).scalar_one()
            if state == State.DRAFTED:
                move(connection, item.study_uid, item.generation, State.DELIVERING)
                note(connection, item.study_uid, item.generation, Stage("delivering", now))

    def settle(self, item: Delivery, verdict: Verdict, now: float) -> None:
        """Record what an attempt came to, and move the study on when nothing is pending."""
        sent_at = now if verdict.status is DeliveryStatus.SENT else None
        with writing(self._engine) as connection:
            connection.execute(
                delivery.update()
                .where(
                    delivery.c.sop_instance_uid == item.sop_instance_uid,
                    delivery.c.destination == item.destination,
                )
                .values(
                    status=verdict.status,
                    attempts=item.attempts + 1,
                    next_at=verdict.next_at or now,
                    sent_at=sent_at,
                    status_code=verdict.status_code,
                    reason=verdict.reason,
                )
            )
            if verdict.status is not DeliveryStatus.PENDING:
                detail = f"{item.kind} to {item.destination}"
                detail += f": {verdict.reason}" if verdict.reason else ""
                stage = Stage(verdict.status, now, detail)
                note(connection, item.study_uid, item.generation, stage)
                self._settle_study(connection, item, now)

    def _settle_study(self, connection: Connection, item: Delivery, now: float) -> None:
        """Move a study to DONE or FAILED once every one of its deliveries is settled."""
        rows = connection.execute(
            sa.select(delivery.c.status, delivery.c.destination, delivery.c.reason)
            .join_from(delivery, output)
            .where(output.c.study_uid == item.study_uid, output.c.generation == item.generation)
        ).all()
        if any(row.status == DeliveryStatus.PENDING for row in rows):
            return
        parked = [row for row in rows if row.status == DeliveryStatus.PARKED]
        end = State.FAILED if parked else State.DONE
        reason = "; ".join(f"{row.destination}: {row.reason}" for row in parked)
        move(connection, item.study_uid, item.generation, end, reason=reason)
        note(connection, item.study_uid, item.generation, Stage(end.lower(), now, reason))

    def pending_elsewhere(self, destinations: Collection[str]) -> tuple[Delivery, ...]:
        """Return pending deliveries to peers that the configuration no longer names."""
        query = (
            sa.select(delivery.c.destination)
            .distinct()
            .where(
                delivery.c.status == DeliveryStatus.PENDING,
                delivery.c.destination.not_in(list(destinations)),
            )
        )
        with reading(self._engine) as connection:
            names = tuple(connection.execute(query).scalars())
        return tuple(item for name in names for item in self.due(name, float("inf"), limit=10**6))

    def recover(self, now: float, rule: OutboxSettings) -> None:
        """Bring attempts that an earlier clock put too far ahead back within the longest wait."""
        with writing(self._engine) as connection:
            connection.execute(
                delivery.update()
                .where(
                    delivery.c.status == DeliveryStatus.PENDING,
                    delivery.c.next_at > now + rule.retry_max_s,
                )
                .values(next_at=now + rule.retry_max_s)
            )
