"""What is known of the running node: one reading that metrics, alerts, pages and verbs share."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Engine

from node.clock import Clock
from node.config import Settings
from node.drift import Drift
from node.film_window import FilmWindow, Training
from node.standing import Standing, StandingReader
from node.tls import Tls

FRESH_S: Final = 5.0
"""A reading serves for so long, whoever asks: a scrape costs the ledger no more than that."""


Expiries = Callable[[], tuple[tuple[str, float], ...]]
"""Returns the certificates in use, by their settings, and when they expire."""


@dataclass(frozen=True)
class Facts:
    """One reading."""

    at: float
    standing: Standing
    disk_free_bytes: int
    disk_total_bytes: int
    certificates: tuple[tuple[str, float], ...]
    """Each setting with the instant at which the first certificate in its file expires."""
    drift: Drift | None
    drift_is_measured: bool

    @property
    def disk_free_percent(self) -> float:
        """The free part of the disk that the storage root is on."""
        return 100 * self.disk_free_bytes / max(self.disk_total_bytes, 1)

    def as_json(self) -> dict[str, Any]:
        """Return what people are shown, JSON-ready."""
        return {
            **self.standing.as_json(),
            "disk_free_percent": round(self.disk_free_percent, 1),
            "disk_free_bytes": self.disk_free_bytes,
            "drift": vars(self.drift) if self.drift else self._why_no_drift(),
        }

    def _why_no_drift(self) -> str:
        if self.drift_is_measured:
            return "not measured yet: too few films"
        return "not measured: the bundle holds no statistics"


class FactsReader:
    """Reads the facts, and remembers them for a few seconds; thread-safe.

    Parameters
    ----------
    root
        The storage root.
    expiries
        Returns the certificates in use and when they expire.
    """

    def __init__(
        self,
        engine: Engine,
        films: FilmWindow,
        root: Path,
        expiries: Expiries,
        clock: Clock,
    ) -> None:
        self._standing = StandingReader(engine)
        self._films = films
        self._root = root
        self._expiries = expiries
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: Facts | None = None
        self._read_at = 0.0

    def read(self) -> Facts:
        """Return the facts of now, or of a moment ago.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        with self._lock:
            if self._latest is None or time.monotonic() - self._read_at > FRESH_S:
                self._latest = self._fresh()
                self._read_at = time.monotonic()
            return self._latest

    def _fresh(self) -> Facts:
        now, usage = self._clock.now(), shutil.disk_usage(self._root)
        return Facts(
            now,
            self._standing.read(now),
            usage.free,
            usage.total,
            self._expiries(),
            self._films.drift(),
            self._films.is_measured,
        )


def facts_reader(
    settings: Settings, engine: Engine, expiries: Expiries, clock: Clock
) -> FactsReader:
    """Return a reader for a node, running or not."""
    films = FilmWindow(engine, [Training.of(one.bundle) for one in settings.engine.each])
    return FactsReader(engine, films, settings.node.storage.root, expiries, clock)


def expiries_of(tls: Tls) -> tuple[tuple[str, float], ...]:
    """Return each setting with the instant at which the first of its certificates expires."""
    soonest: dict[str, float] = {}
    for setting, one in tls.certificates():
        at = one.not_after.timestamp()
        soonest[setting] = min(at, soonest.get(setting, at))
    return tuple(soonest.items())
