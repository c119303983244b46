"""What peers asked us to commit to, and what of it we really hold: ledger and spool compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from node import statuses
from node.commitment import Reference, Report, Transaction
from node.schema import custody, instance
from node.spool import Spool
from node.transactions import reading, writing

_BATCH = 500
_PREAMBLE_BYTES = 132
_GROUP_LENGTH_BYTES = 12
MAX_OPEN = 1000
"""Requests of one peer that may wait for their report."""


@dataclass(frozen=True)
class Asked:
    """A peer's request that waits for its report."""

    transaction: Transaction
    peer: str
    asked_at: float
    attempts: int


class Custody:
    """The requests of peers."""

    def __init__(self, engine: Engine, spool: Spool) -> None:
        self._engine = engine
        self._spool = spool

    def take(self, peer: str, transaction: Transaction, now: float, next_at: float) -> int:
        """Keep a request, to be reported on later; return the status of the N-ACTION.

        A request that is repeated is reported on again; one under a known transaction UID with
        other objects is refused.
        """
        place = {"transaction_uid": transaction.uid, "peer": peer}
        objects = [[one.sop_class_uid, one.sop_instance_uid] for one in transaction.references]
        due = {"asked_at": now, "attempts": 0, "next_at": next_at, "answered_at": None}
        with writing(self._engine) as connection:
            known = connection.execute(sa.select(custody.c.objects).where(*_at(place))).first()
            if known is not None and known.objects != objects:
                return statuses.DUPLICATE_TRANSACTION
            if known is not None:
                connection.execute(custody.update().where(*_at(place)).values(due))
            elif _num_open(connection, peer) >= MAX_OPEN:
                return statuses.RESOURCE_LIMITATION
            else:
                connection.execute(custody.insert().values(**place, **due, objects=objects))
        return statuses.SUCCESS

    def due(self, peer: str, now: float, *, limit: int = 20) -> tuple[Asked, ...]:
        """Return the requests of a peer that are to be reported on now, oldest first."""
        query = (
            sa.select(custody)
            .where(
                custody.c.peer == peer,
                custody.c.answered_at.is_(None),
                custody.c.next_at <= now,
            )
            .order_by(custody.c.asked_at)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return tuple(_asked(row) for row in connection.execute(query))

    def postpone(self, asked: Asked, until: float, reason: str) -> None:
        """Report later: the peer could not be told."""
        self._change(asked, attempts=asked.attempts + 1, next_at=until, reason=reason)

    def end(self, asked: Asked, now: float, reason: str = "") -> None:
        """Note that a peer was told, or why that was given up."""
        self._change(asked, attempts=asked.attempts + 1, answered_at=now, reason=reason)

    def _change(self, asked: Asked, **values: object) -> None:
        """Write down what came of a report, unless it was asked for again meanwhile."""
        place = {"transaction_uid": asked.transaction.uid, "peer": asked.peer}
        is_latest = custody.c.asked_at == asked.asked_at
        with writing(self._engine) as connection:
            connection.execute(custody.update().where(*_at(place), is_latest).values(values))

    def recover(self, now: float, peers: Collection[str]) -> None:
        """Report at once on what an earlier run left, to peers that may still ask."""
        is_open = custody.c.answered_at.is_(None)
        is_elsewhere = custody.c.peer.not_in(list(peers))
        gone = {"answered_at": now, "reason": "the peer may no longer ask"}
        with writing(self._engine) as connection:
            connection.execute(custody.update().where(is_open, is_elsewhere).values(gone))
            connection.execute(custody.update().where(is_open).values(next_at=now))

    def report_on(self, transaction: Transaction) -> Report:
        """Return which objects of a request are held now, and why the others are not.

        Held means: in the ledger under the same SOP class, and whole in the spool.
        """
        held: list[Reference] = []
        failed: dict[Reference, int] = {}
        for reference, row in self._look_up(transaction.references):
            if row is None:
                failed[reference] = statuses.NO_SUCH_INSTANCE
            elif row.sop_class_uid != reference.sop_class_uid:
                failed[reference] = statuses.CLASS_INSTANCE_CONFLICT
            elif not is_whole(self._spool.path(row.path), row.num_bytes):
                failed[reference] = statuses.PROCESSING_FAILURE
            else:
                held.append(reference)
        return Report(transaction.uid, tuple(held), failed)

    def _look_up(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Any]]:
        columns = (instance.c.sop_instance_uid, instance.c.sop_class_uid)
        for start in range(0, len(references), _BATCH):
            batch = references[start : start + _BATCH]
            query = sa.select(*columns, instance.c.path, instance.c.num_bytes).where(
                instance.c.sop_instance_uid.in_([one.sop_instance_uid for one in batch])
            )
            with reading(self._engine) as connection:
                rows = {row.sop_instance_uid: row for row in connection.execute(query)}
            for reference in batch:
                yield reference, rows.get(reference.sop_instance_uid)


def is_whole(path: Path, num_bytes: int) -> bool:
    """Tell whether a file is there with a data set of this length below its meta information.

    The group length that starts the meta information tells how long that is (PS3.10 section 7.1).
    """
    try:
        with path.open("rb") as file:
            head = file.read(_PREAMBLE_BYTES + _GROUP_LENGTH_BYTES)
        size = path.stat().st_size
    except OSError:
        return False
    meta_bytes = int.from_bytes(head[-4:], "little")
    return size == _PREAMBLE_BYTES + _GROUP_LENGTH_BYTES + meta_bytes + num_bytes


def _at(place: dict[str, str]) -> list[sa.ColumnElement[bool]]:
    return [custody.c[name] == value for name, value in place.items()]


def _num_open(connection: Connection, peer: str) -> int:
    query = sa.select(sa.func.count()).where(
        custody.c.peer == peer, custody.c.answered_at.is_(None)
    )
    return int(connection.execute(query).scalar_one())


def _asked(row: Row[Any]) -> Asked:
    references = tuple(Reference(*pair) for pair in row.objects)
    return Asked(Transaction(row.transaction_uid, references), row.peer, row.asked_at, row.attempts)
