"""Which studies are on their way over an association, told to the other receivers of a ledger.

A study counts as complete when it has been quiet and nobody carries it any more. With several
receivers nobody knows that alone: each says what it carries, for a short while at a time, so that
one that died says nothing soon.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from node.clock import Clock
from node.schema import carried
from node.transactions import reading, writing

_VALID_S = 15.0
_RENEW_S = 5.0


class CarriedStudies:
    """What all receivers carry.

    Parameters
    ----------
    receiver
        Name of this one.
    open_study_uids
        Tells the studies that an association of this one carries.
    """

    def __init__(
        self,
        engine: Engine,
        receiver: str,
        clock: Clock,
        open_study_uids: Callable[[], frozenset[str]],
    ) -> None:
        self._engine = engine
        self._receiver = receiver
        self._clock = clock
        self._ours = open_study_uids
        self._said: frozenset[str] = frozenset()
        self._said_at = 0.0

    def step(self) -> bool:
        """Say what this receiver carries, when that changed or soon loses its force."""
        ours, now = self._ours(), self._clock.now()
        if ours == self._said and (not ours or now - self._said_at < _RENEW_S):
            return False
        with writing(self._engine) as connection:
            connection.execute(carried.delete().where(carried.c.receiver == self._receiver))
            rows = [
                {"study_uid": uid, "receiver": self._receiver, "until": now + _VALID_S}
                for uid in sorted(ours)
            ]
            if rows:
                connection.execute(carried.insert(), rows)
        self._said, self._said_at = ours, now
        return False

    def open_study_uids(self) -> frozenset[str]:
        """Return the studies that any receiver carries."""
        others = sa.select(carried.c.study_uid).where(
            carried.c.receiver != self._receiver, carried.c.until > self._clock.now()
        )
        with reading(self._engine) as connection:
            return self._ours() | frozenset(connection.execute(others).scalars())
