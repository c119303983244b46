"""Leases kept alive while their drafts go on, and let go when a draft does not end.

A worker that died renews nothing, so its studies are taken up again when their leases are over. One
that hangs would renew for ever: after `draft_timeout_s` its draft is left to the next worker, and
whatever it still brings comes too late to count.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from node.clock import Clock
from node.config import WorkSettings
from node.ledger import Ledger
from node.logs import get_logger, say
from node.records import Claim

_LOG = get_logger("leases")


class Leases:
    """The claims that the workers of this process hold.

    Parameters
    ----------
    settings
        How long a lease lasts, and how long a draft may take.
    """

    def __init__(self, settings: WorkSettings, ledger: Ledger, clock: Clock) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._held: dict[Claim, tuple[float, float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Keep a claim alive while the block runs."""
        now = self._clock.now()
        with self._lock:
            self._held[claim] = (now + self._settings.draft_timeout_s, now)
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(claim, None)

    def step(self) -> bool:
        """Renew the leases that a third of their time has passed of; never more work at once."""
        now = self._clock.now()
        with self._lock:
            held = list(self._held.items())
        for claim, (ends_at, renewed_at) in held:
            if now >= ends_at:
                self._let_go(claim)
            elif now - renewed_at >= self._settings.lease_s / 3:
                self._renew(claim, ends_at, now)
        return False

    def _renew(self, claim: Claim, ends_at: float, now: float) -> None:
        if not self._ledger.renew(claim, now + self._settings.lease_s):
            self._let_go(claim)
            return
        with self._lock:
            if claim in self._held:
                self._held[claim] = (ends_at, now)

    def _let_go(self, claim: Claim) -> None:
        with self._lock:
            self._held.pop(claim, None)
        say(
            _LOG,
            "lease.let_go",
            level=logging.WARNING,
            study=claim.key,
            generation=claim.generation,
            attempt=claim.attempts,
        )
