"""The one source of time: seconds since 1970 that never jump."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the time; tests pass one they can move."""

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC, never less than the call before."""
        ...


class SystemClock:
    """Wall time read once, then carried on by the monotonic clock.

    A step of the system clock (NTP, daylight saving, an operator) therefore fires no timer
    early or late; the ledger clamps what an earlier run left in the future.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return self._offset + time.monotonic()


def as_datetime(seconds: float) -> datetime:
    """Return an instant of the clock as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC)
