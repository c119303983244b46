"""What destinations have still to commit to: asked for, answered, sent again, given up.

A delivery is open here for as long as it is `sent`; its row says when to ask next. A request is
noted before it goes out, so a report can come at any time after, over any association.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node import statuses
from node.commitment import Reference, Report, Transaction, reason_text
from node.outbox import SAME_DELIVERY, is_delivery, settle_study
from node.records import DeliveryStatus, Stage
from node.schema import commitment, commitment_request, delivery, output
from node.transactions import note, reading, writing


@dataclass(frozen=True)
class Awaited:
    """An object that a destination was sent and has not committed to."""

    reference: Reference
    study_uid: str
    generation: int
    kind: str
    destination: str
    transaction_uid: str | None
    attempts: int
    resends: int
    sent_at: float


@dataclass(frozen=True)
class Outcome:
    """What became of an awaited object."""

    awaited: Awaited
    status: DeliveryStatus
    reason: str = ""


_COLUMNS = (
    output.c.sop_class_uid,
    output.c.sop_instance_uid,
    output.c.study_uid,
    output.c.generation,
    output.c.kind,
    commitment.c.destination,
    commitment.c.transaction_uid,
    commitment.c.attempts,
    commitment.c.resends,
    delivery.c.sent_at,
)


class Commitments:
    """The commitments that we wait for.

    Parameters
    ----------
    max_resends
        Times that an object which a peer did not keep is sent again before it is parked.
    give_up_after_s
        Seconds after which an object that nobody commits to is parked, and within which an
        object that is sent again must arrive.
    """

    def __init__(self, engine: Engine, *, max_resends: int, give_up_after_s: float) -> None:
        self._engine = engine
        self._max_resends = max_resends
        self._give_up_after_s = give_up_after_s

    def due(self, destination: str, now: float, *, limit: int = 50) -> tuple[Awaited, ...]:
        """Return what a destination is to be asked for now, oldest first."""
        with reading(self._engine) as connection:
            return _awaited(
                connection,
                commitment.c.destination == destination,
                commitment.c.next_at <= now,
                limit=limit,
            )

    def begin(
        self, destination: str, items: Sequence[Awaited], uid: str, now: float, until: float
    ) -> Transaction:
        """Note a request before it goes out; it is asked again if no report comes until then."""
        with writing(self._engine) as connection:
            connection.execute(
                commitment_request.insert().values(
                    transaction_uid=uid, destination=destination, at=now
                )
            )
            for item in items:
                _change(
                    connection,
                    item,
                    transaction_uid=uid,
                    attempts=item.attempts + 1,
                    next_at=until,
                )
        return Transaction(uid, tuple(item.reference for item in items))

    def postpone(self, items: Sequence[Awaited], until: float) -> None:
        """Ask again later: the request did not get through."""
        with writing(self._engine) as connection:
            for item in items:
                _change(connection, item, next_at=until)

    def give_up(self, items: Sequence[Awaited], now: float) -> tuple[Outcome, ...]:
        """Park what nobody committed to for too long."""
        hours = self._give_up_after_s / 3600
        reason = f"given up after {hours:g} h without a commitment"
        ends = tuple(Outcome(item, DeliveryStatus.PARKED, reason) for item in items)
        with writing(self._engine) as connection:
            for end in ends:
                self._settle(connection, end, now)
        return ends

    def destination_of(self, transaction_uid: str) -> str | None:
        """Return whom a transaction was begun with; None where there is no such transaction."""
        query = sa.select(commitment_request.c.destination).where(
            commitment_request.c.transaction_uid == transaction_uid
        )
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def record(self, destination: str, report: Report, now: float) -> tuple[Outcome, ...]:
        """Settle what a report speaks of, and return what became of each object.

        That an object is held counts whenever it is said; that it is not, only in answer to the
        latest request: it may have been sent again since an earlier one.
        """
        ends: list[Outcome] = []
        with writing(self._engine) as connection:
            open_items = _awaited(connection, commitment.c.destination == destination)
            by_uid = {item.reference.sop_instance_uid: item for item in open_items}
            held = [by_uid.pop(reference.sop_instance_uid, None) for reference in report.held]
            ends += [Outcome(item, DeliveryStatus.COMMITTED) for item in held if item]
            for reference, reason in report.failed.items():
                item = by_uid.pop(reference.sop_instance_uid, None)
                if item and item.transaction_uid == report.transaction_uid:
                    ends.append(self._failed(item, reason))
            for end in ends:
                self._settle(connection, end, now)
            connection.execute(
                commitment_request.update()
                .where(commitment_request.c.transaction_uid == report.transaction_uid)
                .values(reported_at=now)
            )
        return tuple(ends)

    def try_out(self, destination: str, uid: str, now: float) -> None:
        """Note a transaction about an object that is none of ours: a phantom's."""
        values = {"transaction_uid": uid, "destination": destination, "at": now}
        with writing(self._engine) as connection:
            connection.execute(commitment_request.insert().values(**values))

    def is_reported(self, transaction_uid: str) -> bool:
        """Tell whether a report on a transaction has come."""
        query = sa.select(commitment_request.c.reported_at).where(
            commitment_request.c.transaction_uid == transaction_uid
        )
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none() is not None

    def _failed(self, item: Awaited, reason: int) -> Outcome:
        """Return what follows from a failure: ask again, send again, or park."""
        text = f"not committed: {reason_text(reason)}"
        if reason == statuses.DUPLICATE_TRANSACTION:
            return Outcome(item, DeliveryStatus.SENT, text)
        if item.resends < self._max_resends:
            return Outcome(item, DeliveryStatus.PENDING, text)
        times = f" after it was sent {item.resends + 1} times" if item.resends else ""
        return Outcome(item, DeliveryStatus.PARKED, f"{text}{times}")

    def _settle(self, connection: Connection, end: Outcome, now: float) -> None:
        """Write one outcome down, and move its study on when it was the last."""
        item = end.awaited
        if end.status is DeliveryStatus.SENT:
            _change(connection, item, next_at=now)
            return
        values: dict[str, object] = {"status": end.status}
        if end.reason:
            values["reason"] = end.reason
        if end.status is DeliveryStatus.PENDING:
            values |= {"next_at": now, "deadline_at": now + self._give_up_after_s}
            _change(connection, item, resends=item.resends + 1)
        connection.execute(
            delivery.update()
            .where(is_delivery(item.reference.sop_instance_uid, item.destination))
            .values(values)
        )
        detail = f"{item.kind} to {item.destination}"
        detail += f": {end.reason}" if end.reason else ""
        name = "resent" if end.status is DeliveryStatus.PENDING else str(end.status)
        note(connection, item.study_uid, item.generation, Stage(name, now, detail))
        settle_study(connection, item.study_uid, item.generation, now)

    def recover(self, now: float) -> None:
        """Ask again at once for what is open: a report may have come while nobody listened."""
        with writing(self._engine) as connection:
            connection.execute(commitment.update().values(next_at=now))

    def forget_elsewhere(self, destinations: Collection[str], now: float) -> int:
        """Let go of what is awaited from peers that are no longer asked; return how many."""
        with writing(self._engine) as connection:
            items = _awaited(connection, commitment.c.destination.not_in(list(destinations)))
            connection.execute(
                commitment.delete().where(commitment.c.destination.not_in(list(destinations)))
            )
            for item in items:
                settle_study(connection, item.study_uid, item.generation, now)
        return len(items)


def _awaited(
    connection: Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> tuple[Awaited, ...]:
    query = (
        sa.select(*_COLUMNS)
        .join_from(commitment, delivery, SAME_DELIVERY)
        .join(output, output.c.sop_instance_uid == commitment.c.sop_instance_uid)
        .where(delivery.c.status == DeliveryStatus.SENT, *conditions)
        .order_by(commitment.c.next_at, commitment.c.sop_instance_uid)
        .limit(limit)
    )
    rows = [tuple(row) for row in connection.execute(query)]
    return tuple(Awaited(Reference(*row[:2]), *row[2:]) for row in rows)


def _change(connection: Connection, item: Awaited, **values: object) -> None:
    connection.execute(
        commitment.update()
        .where(
            commitment.c.sop_instance_uid == item.reference.sop_instance_uid,
            commitment.c.destination == item.destination,
        )
        .values(values)
    )
