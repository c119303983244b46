"""Who came to the review page and what they did, for the audit trail and the log."""

from __future__ import annotations

import logging

from sqlalchemy.engine import Engine

from node.clock import Clock
from node.logs import get_logger, say
from node.redact import key
from node.schema import access
from node.transactions import writing

_LOG = get_logger("web")
_ALARMING = ("refused", "locked out")


class Visits:
    """Notes visits in the ledger; the log names no patient."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def note(self, kind: str, user: str, address: str, study_uid: str | None = None) -> None:
        """Note that somebody did something, with a study or none."""
        values = {"kind": kind, "user": user, "address": address, "study_uid": study_uid}
        with writing(self._engine) as connection:
            connection.execute(access.insert().values(at=self._clock.now(), **values))
        say(
            _LOG,
            f"web.{kind.replace(' ', '_')}",
            level=logging.WARNING if kind in _ALARMING else logging.INFO,
            user=user or None,
            address=address,
            study=study_uid and key(study_uid),
        )
