"""Arrivals: instances entered into the ledger, those that come at one time in one transaction.

A transaction costs a synchronisation of the disk, whether it enters one instance or fifty. Who
finds a commit under way leaves its arrival for the next; the first of those that wait then commits
for all of them. Nobody is answered before the transaction that holds its arrival is on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from node import redact
from node.errors import LedgerError
from node.records import Arrival, Recorded
from node.schema import event, instance, revision, study
from node.studies import OPEN_TO_IMAGES, State
from node.transactions import latest_generation, writing

# Written out once: to build a statement costs more than to execute it.
_KNOWN = sa.select(instance.c.sop_instance_uid, instance.c.content_digest).where(
    instance.c.sop_instance_uid.in_(sa.bindparam("uids", expanding=True))
)
_STILL_OPEN = (
    study.update()
    .where(study.c.study_uid == sa.bindparam("uid"), study.c.generation == sa.bindparam("number"))
    .values(state=State.RECEIVING, last_at=sa.bindparam("now"), ready_at=None)
)
_REVISION = sa.select(revision.c.base).where(
    revision.c.study_uid == sa.bindparam("uid"), revision.c.generation == sa.bindparam("number")
)
_UNCOMPARED = ""
"""The digest of an image that came before digests were those of today: its bytes are kept."""
_NEW_STUDY, _NEW_INSTANCE, _NEW_EVENT = study.insert(), instance.insert(), event.insert()


@dataclass(eq=False)
class _Entry:
    """An arrival that waits for its transaction, and what came of it."""

    arrival: Arrival
    at: float
    recorded: Recorded | None = None
    failure: LedgerError | None = None


class Arrivals:
    """The way into the ledger for instances whose files are safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Entry] = []
        self._queue = threading.Lock()
        self._committing = threading.Lock()

    def record(self, arrival: Arrival, now: float) -> Recorded:
        """Note an instance and its study's last-seen time; the first bytes of a UID are kept.

        Raises
        ------
        LedgerError
            The ledger failed; nothing is recorded.
        """
        entry = _Entry(arrival, now)
        with self._queue:
            self._waiting.append(entry)
        with self._committing:
            if entry.recorded is None and entry.failure is None:
                with self._queue:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        if entry.recorded is None:
            raise entry.failure or LedgerError("the ledger failed")
        return entry.recorded

    def _commit(self, batch: Sequence[_Entry]) -> None:
        """Enter a batch, all of it or nothing."""
        try:
            with writing(self._engine) as connection:
                outcome = _enter(connection, batch)
        except LedgerError as error:
            for entry in batch:
                entry.failure = error
            return
        for entry, recorded in zip(batch, outcome, strict=True):
            entry.recorded = recorded


def _enter(connection: Connection, batch: Sequence[_Entry]) -> list[Recorded]:
    """Enter arrivals in the order in which they came; return what was made of each."""
    known = _known_digests(connection, [entry.arrival.sop_instance_uid for entry in batch])
    outcome, rows = [], list[dict[str, Any]]()
    for entry in batch:
        arrival = entry.arrival
        kept = known.get(arrival.sop_instance_uid)
        if kept is not None:
            is_same = kept in (arrival.content_digest, _UNCOMPARED)
            outcome.append(Recorded.SAME if is_same else Recorded.CONFLICT)
            continue
        known[arrival.sop_instance_uid] = arrival.content_digest
        generation = _join_generation(connection, arrival, entry.at)
        rows.append({**vars(arrival), "generation": generation, "received_at": entry.at})
        outcome.append(Recorded.NEW)
    if rows:
        connection.execute(_NEW_INSTANCE, rows)
        connection.execute(_NEW_EVENT, [_received(row) for row in rows])
    return outcome


def _known_digests(connection: Connection, sop_instance_uids: Sequence[str]) -> dict[str, str]:
    """Return the digests of the bytes that are kept under some SOP Instance UIDs."""
    rows = connection.execute(_KNOWN, {"uids": sop_instance_uids})
    return {str(uid): str(digest) for uid, digest in rows}


def _received(row: dict[str, Any]) -> dict[str, Any]:
    """Return the step of the timeline for an instance."""
    return {
        "at": row["received_at"],
        "study_uid": row["study_uid"],
        "generation": row["generation"],
        "name": "received",
        "detail": "",
    }


def _is_open(connection: Connection, latest: Row[tuple[Any, ...]]) -> bool:
    """Tell whether an image may join a generation; one made of a person's words takes none in."""
    state = State(latest.state)
    if state is State.READY:
        place = {"uid": latest.study_uid, "number": latest.generation}
        return connection.execute(_REVISION, place).first() is None
    return state in OPEN_TO_IMAGES


def _join_generation(connection: Connection, arrival: Arrival, now: float) -> int:
    """Return the generation that a new image belongs to, making it where needed."""
    latest = latest_generation(connection, arrival.study_uid)
    if latest is not None and _is_open(connection, latest):
        place = {"uid": arrival.study_uid, "number": latest.generation}
        connection.execute(_STILL_OPEN, {**place, "now": now})
        return int(latest.generation)
    generation = latest.generation + 1 if latest is not None else 1
    values = {
        "study_uid": arrival.study_uid,
        "generation": generation,
        "key": redact.key(arrival.study_uid),
        "state": State.RECEIVING,
        "peer": arrival.peer,
        "first_at": now,
        "last_at": now,
    }
    connection.execute(_NEW_STUDY, values)
    return int(generation)
