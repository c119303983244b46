"""How long studies are kept: by age, and by size where a limit is set.

Only a study that has ended and has nothing on its way can go; an acknowledged image that waits for
its draft never does. Rows go first, in one transaction, then files: a kill between the two leaves
files that nobody knows, which the next start removes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.clock import Clock
from node.config import StorageSettings
from node.logs import get_logger, say
from node.objects import ObjectStore
from node.records import DeliveryStatus
from node.redact import key
from node.removal import Removal
from node.schema import (
    access,
    announcement,
    commitment,
    commitment_request,
    custody,
    delivery,
    event,
    feedback,
    instance,
    output,
    prior,
    question,
    rejection,
    result,
    revision,
    study,
    study_count,
)
from node.studies import State
from node.transactions import reading, writing

_LOG = get_logger("retention")
_DAY_S = 86_400.0
_GB = 1000**3
_SWEEP_S = 60.0
_SETTLED_S = 600.0
"""A study that ended just now stays for the audit trail to have seen it."""
_BATCH = 20

_ENDED = (State.DONE, State.SKIPPED, State.FAILED)

_WITH_FILES = (instance, output, prior)

_DATED: tuple[tuple[sa.Table, sa.Column[float]], ...] = (
    (rejection, rejection.c.at),
    (custody, custody.c.answered_at),
    (commitment_request, commitment_request.c.at),
    (announcement, announcement.c.at),
    (study_count, study_count.c.asked_at),
    (access, access.c.at),
)
"""Rows that go by their own age, and the instant that counts."""

_OF_STUDY = (
    output,
    result,
    instance,
    prior,
    announcement,
    study_count,
    question,
    feedback,
    revision,
)
"""Rows that go with their study."""


@dataclass(frozen=True)
class _Candidate:
    """A study that may go."""

    study_uid: str
    last_at: float
    num_bytes: int


class Retention:
    """Removes what has been kept long enough.

    Parameters
    ----------
    settings
        The `node.storage` section.
    objects
        Where the files are, if not in the storage root.
    """

    def __init__(
        self,
        settings: StorageSettings,
        engine: Engine,
        clock: Clock,
        objects: ObjectStore | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._removal = Removal(settings.root)
        self._files: Removal | ObjectStore = objects or self._removal
        self._next_at = 0.0

    def recover(self) -> None:
        """Remove the files that no row knows; before anything is received.

        Raises
        ------
        StorageError
            Disk or ledger refused.
        """
        with reading(self._engine) as connection:
            paths = sa.union_all(*(sa.select(one.c.path) for one in _WITH_FILES))
            known = frozenset(connection.execute(paths).scalars())
        removed, left = self._removal.recover(known)
        if removed:
            say(_LOG, "storage.strays_removed", files=removed)
        if left:
            hint = "more files than the ledger knows: is it theirs"
            say(_LOG, "storage.strays_left", level=logging.WARNING, files=left, hint=hint)

    def step(self) -> bool:
        """Remove some of what may go; tell whether there may be more."""
        now = self._clock.now()
        if now < self._next_at:
            return False
        going = [*self._too_old(now), *self._too_large(now)][:_BATCH]
        removed = [self._remove(candidate, now) for candidate in going]
        if not any(removed):
            self._next_at = now + _SWEEP_S
            self._forget(now)
        return any(removed)

    def _too_old(self, now: float) -> list[_Candidate]:
        """Return studies that ended longer than `keep_days` ago."""
        ended_before = now - self._settings.keep_days * _DAY_S
        with reading(self._engine) as connection:
            return _candidates(connection, _ENDED, ended_before)

    def _too_large(self, now: float) -> list[_Candidate]:
        """Return delivered studies, oldest first, until the rest is within `max_gb`."""
        if self._settings.max_gb is None:
            return []
        with reading(self._engine) as connection:
            total = sum(
                connection.execute(sa.select(sa.func.sum(one.c.num_bytes))).scalar() or 0
                for one in (instance, prior)
            )
            excess = total - self._settings.max_gb * _GB
            if excess <= 0:
                return []
            states = (State.DONE, State.SKIPPED)
            candidates = _candidates(connection, states, now - _SETTLED_S)
        going = []
        for candidate in candidates:
            if excess <= 0:
                break
            going.append(candidate)
            excess -= candidate.num_bytes
        return going

    def _remove(self, candidate: _Candidate, now: float) -> bool:
        """Remove one study, unless it came to life again; tell whether it is gone."""
        uid = candidate.study_uid
        with reading(self._engine) as connection:
            files = self._files.identify(_paths(connection, uid))
        with writing(self._engine) as connection:
            if not _may_go(connection, candidate):
                return False
            _delete_study(connection, uid)
        removed = self._files.remove(files)
        say(
            _LOG,
            "study.removed",
            study=key(uid),
            files=removed,
            days=round((now - candidate.last_at) / _DAY_S, 2),
        )
        return True

    def _forget(self, now: float) -> None:
        """Delete rows that go by their own age, and at last what is remembered of studies."""
        with writing(self._engine) as connection:
            for table, column in _DATED:
                oldest = now - self._settings.keep_days * _DAY_S
                connection.execute(table.delete().where(column < oldest))
            connection.execute(
                study.delete().where(
                    study.c.last_at < now - self._settings.remember_days * _DAY_S,
                    study.c.study_uid.not_in(sa.select(instance.c.study_uid)),
                )
            )


def _candidates(
    connection: Connection, states: tuple[State, ...], ended_before: float
) -> list[_Candidate]:
    """Return studies all of whose generations ended in some states before an instant."""
    others = [state for state in State if state not in states]
    under_way = sa.select(study.c.study_uid).where(study.c.state.in_(others))
    still = (
        sa.select(instance.c.study_uid, sa.func.sum(instance.c.num_bytes).label("num_bytes"))
        .group_by(instance.c.study_uid)
        .having(sa.func.max(instance.c.received_at) < ended_before)
        .subquery()
    )
    last_at = (
        sa.select(sa.func.max(event.c.at))
        .where(event.c.study_uid == still.c.study_uid)
        .scalar_subquery()
    )
    of_priors = (
        sa.select(sa.func.coalesce(sa.func.sum(prior.c.num_bytes), 0))
        .where(prior.c.study_uid == still.c.study_uid)
        .scalar_subquery()
    )
    query = (
        sa.select(still.c.study_uid, last_at.label("last_at"), still.c.num_bytes + of_priors)
        .where(still.c.study_uid.not_in(under_way), last_at < ended_before)
        .order_by("last_at")
        .limit(_BATCH)
    )
    rows = [tuple(row) for row in connection.execute(query)]
    return [_Candidate(*row) for row in rows]


def _may_go(connection: Connection, candidate: _Candidate) -> bool:
    """Tell whether nothing happened to a study since it was chosen, and nothing is under way."""
    uid = candidate.study_uid
    last_at = connection.execute(
        sa.select(sa.func.max(event.c.at)).where(event.c.study_uid == uid)
    ).scalar()
    under_way = sa.select(study.c.study_uid).where(
        study.c.study_uid == uid, study.c.state.not_in(_ENDED)
    )
    unsent = (
        sa.select(delivery.c.destination)
        .join(output)
        .where(output.c.study_uid == uid, delivery.c.status == DeliveryStatus.PENDING)
    )
    is_busy = any(connection.execute(query).first() for query in (under_way, unsent))
    return last_at == candidate.last_at and not is_busy


def _paths(connection: Connection, study_uid: str) -> list[str]:
    query = sa.union_all(
        *(sa.select(one.c.path).where(one.c.study_uid == study_uid) for one in _WITH_FILES)
    )
    return list(connection.execute(query).scalars())


def _delete_study(connection: Connection, study_uid: str) -> None:
    """Delete every row of a study but those that say that its generations were drafted.

    The newest event stays, whatever study it is of: the audit trail knows by its number how far it
    has come, and numbers of deleted rows are given out again.
    """
    made = sa.select(output.c.sop_instance_uid).where(output.c.study_uid == study_uid)
    for table in (commitment, delivery):
        connection.execute(table.delete().where(table.c.sop_instance_uid.in_(made)))
    for table in _OF_STUDY:
        connection.execute(table.delete().where(table.c.study_uid == study_uid))
    newest = sa.select(sa.func.max(event.c.id)).scalar_subquery()
    connection.execute(event.delete().where(event.c.study_uid == study_uid, event.c.id < newest))
