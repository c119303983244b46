"""Alerts posted to a server as JSON: what was raised or cleared, by which node, and no patient."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from typing import Any, Final

from node.alerts import Change
from node.clock import Clock, as_datetime
from node.config_outputs import HttpSettings
from node.errors import PeerError
from node.http_calls import open_server
from node.logs import get_logger, say

_LOG = get_logger("alerts")
_JSON: Final = "application/json"
_MAX_WAITING: Final = 100
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0


class Webhook:
    """Posts changes in their order, each until the server takes it.

    What waits is in memory: after a restart every alert that still holds is raised anew.

    Parameters
    ----------
    settings
        The `node.alerts.webhook` section; its URL is set.
    ae_title
        Who says so.
    """

    def __init__(self, settings: HttpSettings, ae_title: str, clock: Clock) -> None:
        self._settings = settings
        self._ae_title = ae_title
        self._clock = clock
        self._waiting: deque[Change] = deque(maxlen=_MAX_WAITING)
        self._lock = threading.Lock()
        self._num_failed = 0
        self._next_at = 0.0

    def put(self, change: Change) -> None:
        """Take a change to be posted; the oldest makes way where too many wait."""
        with self._lock:
            self._waiting.append(change)

    def step(self) -> bool:
        """Post the change that has waited longest; tell whether there may be more."""
        now = self._clock.now()
        with self._lock:
            change = self._waiting[0] if self._waiting else None
        if change is None or now < self._next_at:
            return False
        reason = self._post(change)
        if reason:
            self._num_failed += 1
            wait_s = min(_FIRST_WAIT_S * 2.0 ** (self._num_failed - 1), _LONGEST_WAIT_S)
            self._next_at = now + wait_s
            say(_LOG, "alert.untold", level=logging.WARNING, reason=reason, retry_in_s=wait_s)
            return False
        self._num_failed, self._next_at = 0, 0.0
        with self._lock:
            if self._waiting and self._waiting[0] is change:
                self._waiting.popleft()
        return True

    def _post(self, change: Change) -> str:
        """Post one change; return why that failed, empty where it did not."""
        content = json.dumps(message(change, self._ae_title)).encode()
        try:
            with open_server(self._settings) as server:
                status = server.post("", _JSON, _JSON, content).status
        except PeerError as error:
            return str(error)
        return "" if 200 <= status < 300 else f"HTTP {status}"


def message(change: Change, ae_title: str) -> dict[str, Any]:
    """Return what is posted."""
    shown = change.alert.as_json()
    shown["since"] = as_datetime(shown["since"]).isoformat(timespec="seconds")
    at = as_datetime(change.at).isoformat(timespec="seconds")
    state = "raised" if change.is_raised else "cleared"
    return {"node": ae_title, "at": at, "state": state, **shown}
