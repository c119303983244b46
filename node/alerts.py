"""When somebody should look: thresholds with a band, so that a value beside one makes no noise.

Pure. An alert is raised when its value reaches the threshold, and cleared when it has come back by
a tenth of it; between the two it stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from node.config_alerts import AlertSettings
from node.facts import Facts

ALERTS: Final = (
    "queue_age",
    "disk_free",
    "certificate",
    "destination_down",
    "failed_share",
    "drift",
)
"""The names of all alerts."""

MIN_STUDIES: Final = 10
"""A share of fewer studies says nothing."""
_BAND: Final = 0.1
_DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class Reading:
    """A value beside its threshold."""

    alert: str
    value: float
    threshold: float
    text: str
    hint: str
    subject: str = ""
    """Which destination or file, where there are several."""
    low_is_bad: bool = False

    @property
    def is_over(self) -> bool:
        """Tell whether the alert is to be raised."""
        if self.low_is_bad:
            return self.value <= self.threshold
        return self.value >= self.threshold

    @property
    def is_well(self) -> bool:
        """Tell whether it is to be cleared."""
        if self.low_is_bad:
            return self.value > self.threshold * (1 + _BAND)
        return self.value < self.threshold * (1 - _BAND)


@dataclass(frozen=True)
class Alert:
    """An alert that is active."""

    alert: str
    subject: str
    since: float
    text: str
    hint: str
    value: float
    threshold: float

    def as_json(self) -> dict[str, Any]:
        """Return it JSON-ready; it names no patient."""
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """An alert that was raised or cleared."""

    is_raised: bool
    alert: Alert
    at: float


def readings(facts: Facts, settings: AlertSettings, warn_days: int) -> Iterator[Reading]:
    """Yield what is watched; what is switched off or cannot be told is left out."""
    yield from _of_queue(facts, settings)
    yield from _of_disk(facts, settings)
    yield from _of_certificates(facts, warn_days)
    yield from _of_destinations(facts, settings)
    yield from _of_failures(facts, settings)
    yield from _of_drift(facts, settings)


def _of_queue(facts: Facts, settings: AlertSettings) -> Iterator[Reading]:
    if settings.queue_age_s is None:
        return
    number, age_s = facts.standing.queue_length, facts.standing.queue_age_s
    text = f"{number} studies wait for a draft, the first for {age_s:.0f} s"
    hint = "look for `inference.` in the log; raise node.work.num_workers if the machine has room"
    yield Reading("queue_age", age_s, settings.queue_age_s, text, hint)


def _of_disk(facts: Facts, settings: AlertSettings) -> Iterator[Reading]:
    if settings.disk_free_percent is None:
        return
    percent = facts.disk_free_percent
    text = f"{percent:.1f} % of the disk is free ({facts.disk_free_bytes / 1000**3:.1f} GB)"
    hint = "free some space, or lower node.storage.keep_days or set node.storage.max_gb"
    yield Reading("disk_free", percent, settings.disk_free_percent, text, hint, low_is_bad=True)


def _of_certificates(facts: Facts, warn_days: int) -> Iterator[Reading]:
    if not warn_days:
        return
    for setting, expires_at in facts.certificates:
        days = (expires_at - facts.at) / _DAY_S
        text = f"the certificate of {setting} expires in {days:.0f} days"
        hint = "replace the file; no restart is needed"
        yield Reading("certificate", days, warn_days, text, hint, setting, low_is_bad=True)


def _of_destinations(facts: Facts, settings: AlertSettings) -> Iterator[Reading]:
    if settings.destination_down_s is None:
        return
    for name, one in facts.standing.destinations.items():
        down_s = one.down_s(facts.at)
        text = f"nothing has reached {name} for {down_s:.0f} s; {one.pending} objects wait"
        hint = "try `cxr-node check`, and look at the reasons in `cxr-node status STUDY`"
        yield Reading("destination_down", down_s, settings.destination_down_s, text, hint, name)


def _of_failures(facts: Facts, settings: AlertSettings) -> Iterator[Reading]:
    standing = facts.standing
    if settings.failed_share is None or standing.num_recent < MIN_STUDIES:
        return
    failed = standing.recent.get("failed", 0)
    text = f"{failed} of {standing.num_recent} studies failed within an hour"
    hint = "`cxr-node status` shows their reasons"
    yield Reading("failed_share", standing.failed_share, settings.failed_share, text, hint)


def _of_drift(facts: Facts, settings: AlertSettings) -> Iterator[Reading]:
    if settings.drift is None or facts.drift is None:
        return
    drift = facts.drift
    text = (
        f"the last {drift.num_films} films are not like those of training:"
        f" {drift.feature} has shifted by {drift.score:.2f}"
    )
    hint = "has a modality or its processing changed; compare some drafts with their films"
    yield Reading("drift", drift.score, settings.drift, text, hint)


class Alarms:
    """Which alerts are active."""

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], Alert] = {}

    def active(self) -> tuple[Alert, ...]:
        """Return the active alerts, the oldest first."""
        return tuple(sorted(self._active.values(), key=lambda one: (one.since, one.subject)))

    def update(self, found: Iterable[Reading], now: float) -> list[Change]:
        """Take new readings; return what was raised or cleared by them.

        An alert of which there is no reading any more is cleared.
        """
        by_place = {(one.alert, one.subject): one for one in found}
        before, after = self._active, dict[tuple[str, str], Alert]()
        for place, one in by_place.items():
            if one.is_over or (place in before and not one.is_well):
                since = before[place].since if place in before else now
                after[place] = Alert(
                    *place, since, one.text, one.hint, round(one.value, 4), one.threshold
                )
        self._active = after
        raised = [Change(True, one, now) for place, one in after.items() if place not in before]
        cleared = [Change(False, one, now) for place, one in before.items() if place not in after]
        return raised + cleared
