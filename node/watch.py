"""Looks at the facts every few seconds; says once of each alert that it is raised or cleared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from node.alerts import Alarms, Alert, Change, readings
from node.config import NodeSettings
from node.facts import FactsReader
from node.logs import get_logger, say

_LOG = get_logger("alerts")
_LOOK_S: Final = 5.0


class Watch:
    """Keeps the alerts of a node.

    Parameters
    ----------
    tell
        Told of every change; it must not wait.
    look_s
        Seconds between two looks.
    """

    def __init__(
        self,
        facts: FactsReader,
        settings: NodeSettings,
        tell: Callable[[Change], None],
        look_s: float = _LOOK_S,
    ) -> None:
        self._facts = facts
        self._settings = settings
        self._tell = tell
        self._look_s = look_s
        self._alarms = Alarms()
        self._looked_at = -look_s

    def alerts(self) -> tuple[Alert, ...]:
        """Return the active alerts."""
        return self._alarms.active()

    def step(self) -> bool:
        """Look, if it is time; there is never more work at once."""
        if time.monotonic() - self._looked_at < self._look_s:
            return False
        self._looked_at = time.monotonic()
        facts = self._facts.read()
        found = readings(facts, self._settings.alerts, self._settings.tls.warn_days)
        for change in self._alarms.update(found, facts.at):
            self._say(change)
            self._tell(change)
        return False

    def _say(self, change: Change) -> None:
        one = change.alert
        say(
            _LOG,
            "alert.raised" if change.is_raised else "alert.cleared",
            level=logging.WARNING,
            alert=one.alert,
            subject=one.subject or None,
            value=one.value,
            threshold=one.threshold,
            text=one.text if change.is_raised else None,
            hint=one.hint if change.is_raised else None,
            after_s=None if change.is_raised else round(change.at - one.since, 1),
        )
