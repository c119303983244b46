"""What a node works on and the next one takes over when its settings change.

The storage root with its lock, the ledger, the audit trail, the listening sockets, the sessions of
the pages, and the associations that are still open when the node that let them in makes way.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from node.audit import trail_path
from node.audit_chain import Chain
from node.clock import Clock, SystemClock
from node.config import Settings
from node.config_web import WebSettings
from node.configuration_state import ConfigurationState
from node.database import DatabaseClock, ledger_url, open_ledger
from node.listeners import Listeners
from node.objects import ObjectStore
from node.spool import Spool
from node.web.security import Sessions

_LOOK_S = 0.2


class Guests(Protocol):
    """Open associations; `node.scp.Scp` holds some."""

    def open_study_uids(self) -> frozenset[str]:
        """Return the studies that they carry."""

    def num_connections(self) -> int:
        """Return how many connections are open."""

    def stop(self) -> None:
        """End them."""


class Premises:
    """The place where nodes come and go.

    Parameters
    ----------
    settings
        Of what it is built on, nothing changes while it stands (`node.reloading.FIXED`).
    clock
        The time; tests pass their own.

    Raises
    ------
    StorageError
        The storage root cannot be used, or another node uses it.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        node = settings.node
        self.shares = node.ledger.url is not None
        url = ledger_url(node)
        self.objects = None if node.storage.objects is None else ObjectStore(node.storage.objects)
        self.spool = Spool(node.storage, shared=self.shares, objects=self.objects)
        self.spool.prepare()
        self.spool.lock()
        self.database = open_ledger(url)
        self.clock = clock or (DatabaseClock(self.database) if self.shares else SystemClock())
        audits = node.audit.enabled and "deliver" in node.roles
        self.chain = Chain(trail_path(settings)) if audits else None
        self.listeners = Listeners()
        self.configuration = ConfigurationState(self.clock.now())
        self._sessions: tuple[WebSettings, Sessions] | None = None
        self._guests: list[Guests] = []
        self._lock = threading.Lock()

    def sessions(self, web: WebSettings) -> Sessions:
        """Return who is logged in; nobody any more where the section `node.web` is another."""
        if self._sessions is None or self._sessions[0] != web:
            self._sessions = (web, Sessions(self.clock, web.session_s))
        return self._sessions[1]

    def welcome(self, guests: Guests) -> None:
        """Count the associations of a listener in, before it lets any in."""
        with self._lock:
            self._guests.append(guests)

    def open_study_uids(self) -> frozenset[str]:
        """Return the studies that any open association carries, whoever let it in."""
        with self._lock:
            return frozenset[str]().union(*(one.open_study_uids() for one in self._guests))

    def see_out(self, guests: Guests, limit_s: float) -> None:
        """Let associations end by themselves, in a thread; what is open after a time is cut."""
        leaving = threading.Thread(
            target=self._see_out, args=(guests, limit_s), name="leaving", daemon=True
        )
        leaving.start()

    def _see_out(self, guests: Guests, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while guests.num_connections() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        self.dismiss(guests)

    def dismiss(self, guests: Guests) -> None:
        """End associations now."""
        guests.stop()
        with self._lock:
            if guests in self._guests:
                self._guests.remove(guests)

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            remaining = list(self._guests)
        for guests in remaining:
            self.dismiss(guests)
        self.listeners.keep_only(())
        if self.chain is not None and not self.chain.is_closed:
            self.chain.close()
        self.database.dispose()
        self.spool.unlock()
