"""The outbox: which object is due at which destination, and what became of each attempt."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.config_outputs import OutboxSettings
from node.records import Delivery, DeliveryStatus, Stage, Verdict
from node.schema import commitment, delivery, output, study
from node.studies import ENDED, ROUTINE, State
from node.transactions import is_generation, move, note, reading, writing


def backoff_s(attempts: int, rule: OutboxSettings) -> float:
    """Return the wait after a number of failed attempts: exponential, with a ceiling."""
    ceiling = rule.retry_max_s / rule.retry_initial_s
    factor = min(rule.retry_factor ** min(attempts - 1, 64), ceiling)
    return max(rule.retry_initial_s * factor, min(rule.retry_initial_s, rule.retry_max_s))


def is_delivery(sop_instance_uid: str, destination: str) -> sa.ColumnElement[bool]:
    """Return the condition that picks one delivery."""
    return sa.and_(
        delivery.c.sop_instance_uid == sop_instance_uid, delivery.c.destination == destination
    )


def settle_study(connection: Connection, study_uid: str, generation: int, now: float) -> None:
    """Move a study to DONE or FAILED once every one of its deliveries is settled.

    One that is sent is not, where the destination has still to commit to it.
    """
    rows = connection.execute(
        sa.select(
            delivery.c.status,
            delivery.c.destination,
            delivery.c.reason,
            commitment.c.next_at.label("commitment_at"),
        )
        .join_from(delivery, output)
        .outerjoin(commitment, SAME_DELIVERY)
        .where(output.c.study_uid == study_uid, output.c.generation == generation)
    ).all()
    if any(_is_open(row.status, row.commitment_at) for row in rows):
        return
    where = is_generation(study_uid, generation)
    if connection.execute(sa.select(study.c.state).where(where)).scalar_one() in ENDED:
        return  # a person gave it up while an object was on its way
    parked = [row for row in rows if row.status == DeliveryStatus.PARKED]
    end = State.FAILED if parked else State.DONE
    reason = "; ".join(f"{row.destination}: {row.reason}" for row in parked)
    move(connection, study_uid, generation, end, reason=reason)
    note(connection, study_uid, generation, Stage(end.lower(), now, reason))


SAME_DELIVERY = sa.and_(
    commitment.c.sop_instance_uid == delivery.c.sop_instance_uid,
    commitment.c.destination == delivery.c.destination,
)


SAME_STUDY = sa.and_(
    study.c.study_uid == output.c.study_uid, study.c.generation == output.c.generation
)

_IS_ROUTINE = (
    sa.select(study.c.priority)
    .join_from(output, study, SAME_STUDY)
    .where(output.c.sop_instance_uid == delivery.c.sop_instance_uid)
    .correlate(delivery)
    .scalar_subquery()
) == ROUTINE
"""Whether a delivery is of a study that may wait; for statements about `delivery` alone."""


def _is_open(status: str, commitment_at: float | None) -> bool:
    is_awaited = status == DeliveryStatus.SENT and commitment_at is not None
    return is_awaited or status == DeliveryStatus.PENDING


class Outbox:
    """Deliveries of the ledger.

    Parameters
    ----------
    committing
        The destinations that are asked to commit to what they were sent.
    """

    def __init__(self, engine: Engine, committing: Collection[str] = ()) -> None:
        self._engine = engine
        self._committing = committing

    def due(
        self, destination: str, now: float, *, limit: int = 50, stat_only: bool = False
    ) -> tuple[Delivery, ...]:
        """Return what is to be sent to a destination now: STAT first, then the oldest draft.

        Parameters
        ----------
        stat_only
            Leave what is no emergency.
        """
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
                output.c.sha256,
            )
            .join_from(delivery, output)
            .join(study, SAME_STUDY)
            .where(
                delivery.c.destination == destination,
                delivery.c.status == DeliveryStatus.PENDING,
                delivery.c.next_at <= now,
            )
            .order_by(study.c.priority.desc(), delivery.c.deadline_at, delivery.c.sop_instance_uid)
            .limit(limit)
        )
        if stat_only:
            query = query.where(study.c.priority != ROUTINE)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings()
            return tuple(Delivery(**row) for row in rows)

    def hold(self, destination: str, reason: str, deadline_at: float) -> None:
        """Note why what is due at a destination waits; its time does not run out meanwhile.

        It stays due, and no attempt is counted. What is an emergency does not wait.
        """
        waiting = (
            delivery.c.destination == destination,
            delivery.c.status == DeliveryStatus.PENDING,
            _IS_ROUTINE,
            sa.or_(delivery.c.reason != reason, delivery.c.deadline_at < deadline_at),
        )
        one = sa.select(delivery.c.destination).where(*waiting).limit(1)
        with reading(self._engine) as connection:
            if connection.execute(one).first() is None:
                return
        later = sa.case(
            (delivery.c.deadline_at < deadline_at, deadline_at), else_=delivery.c.deadline_at
        )
        with writing(self._engine) as connection:
            held = delivery.update().where(*waiting)
            connection.execute(held.values(reason=reason, deadline_at=later))

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
                .where(is_delivery(item.sop_instance_uid, item.destination))
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
                if sent_at is not None and item.destination in self._committing:
                    _await_commitment(connection, item, now)
                settle_study(connection, item.study_uid, item.generation, now)

    def pending_elsewhere(self, destinations: Collection[str]) -> tuple[Delivery, ...]:
        """Return pending deliveries to others than these peers."""
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


def _await_commitment(connection: Connection, item: Delivery, now: float) -> None:
    """Note that a destination is to commit to what it was sent, at first or again."""
    place = {"sop_instance_uid": item.sop_instance_uid, "destination": item.destination}
    due = {"transaction_uid": None, "attempts": 0, "next_at": now}
    again = commitment.update().where(*(commitment.c[name] == place[name] for name in place))
    if not connection.execute(again.values(due)).rowcount:
        connection.execute(commitment.insert().values(place | due))
