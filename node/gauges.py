"""The gauges: what is read of the node at each scrape, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from node.alerts import ALERTS, Alert
from node.facts import Facts
from node.standing import Destination

Samples = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True)
class Seen:
    """One look at the node."""

    facts: Facts
    alerts: tuple[Alert, ...]
    num_associations: int
    num_connections: int
    is_ready: bool
    version: str
    bundle: tuple[str, str, str]
    """Name, version and the first digits of the digest of the model; empty before it is loaded."""


@dataclass(frozen=True)
class Gauge:
    """A value that is read."""

    name: str
    text: str
    read: Callable[[Seen], Samples]
    labels: tuple[str, ...] = ()


def _one(value: Callable[[Seen], float]) -> Callable[[Seen], Samples]:
    return lambda seen: [((), value(seen))]


def _by_destination(value: Callable[[Destination], float | None]) -> Callable[[Seen], Samples]:
    def read(seen: Seen) -> Samples:
        for name, one in seen.facts.standing.destinations.items():
            number = value(one)
            if number is not None:
                yield (name,), number

    return read


def _deliveries(seen: Seen) -> Samples:
    for name, one in seen.facts.standing.destinations.items():
        for status, number in one.counts().items():
            yield (name, status), number


def _down_s(seen: Seen) -> Samples:
    for name, one in seen.facts.standing.destinations.items():
        yield (name,), one.down_s(seen.facts.at)


def _alerts(seen: Seen) -> Samples:
    for name in ALERTS:
        yield (name,), sum(one.alert == name for one in seen.alerts)


def _by_feature(seen: Seen) -> Samples:
    drift = seen.facts.drift
    return [] if drift is None else [((name,), score) for name, score in drift.by_feature.items()]


def _drift_films(seen: Seen) -> float:
    return 0 if seen.facts.drift is None else seen.facts.drift.num_films


GAUGES: Final = (
    Gauge(
        "cxr_build_info",
        "1; the version of the software, and the model.",
        lambda seen: [((seen.version, *seen.bundle), 1)],
        ("version", "bundle", "bundle_version", "bundle_digest"),
    ),
    Gauge("cxr_ready", "1 where /ready answers 200.", _one(lambda seen: seen.is_ready)),
    Gauge(
        "cxr_associations_open", "Associations that are open.", _one(lambda s: s.num_associations)
    ),
    Gauge(
        "cxr_connections_open",
        "Connections that are open, associations or not.",
        _one(lambda seen: seen.num_connections),
    ),
    Gauge(
        "cxr_studies",
        "Studies that the ledger knows, each generation one, by state.",
        lambda seen: [((state,), n) for state, n in seen.facts.standing.studies.items()],
        ("state",),
    ),
    Gauge(
        "cxr_queue_length",
        "Studies that are complete and wait for a worker.",
        _one(lambda seen: seen.facts.standing.queue_length),
    ),
    Gauge(
        "cxr_queue_age_seconds",
        "How long the first of them has waited.",
        _one(lambda seen: seen.facts.standing.queue_age_s),
    ),
    Gauge(
        "cxr_deliveries",
        "Objects by destination and where they stand: pending, sent, committed or parked.",
        _deliveries,
        ("destination", "status"),
    ),
    Gauge(
        "cxr_commitments_open",
        "Objects that a destination has been sent and has still to commit to.",
        _by_destination(lambda one: one.commitments),
        ("destination",),
    ),
    Gauge(
        "cxr_destination_up",
        "0 where an attempt was in vain and nothing has come through since.",
        _by_destination(lambda one: one.is_up),
        ("destination",),
    ),
    Gauge("cxr_destination_down_seconds", "For how long that is so.", _down_s, ("destination",)),
    Gauge(
        "cxr_destination_last_success_timestamp_seconds",
        "When an object last came through.",
        _by_destination(lambda one: one.last_success_at),
        ("destination",),
    ),
    Gauge(
        "cxr_questions",
        "Questions on films: open, answered or given_up.",
        lambda seen: [((state,), n) for state, n in seen.facts.standing.questions.items()],
        ("state",),
    ),
    Gauge(
        "cxr_feedback_verdicts",
        "Verdicts of readers on drafts, by the bundle that made them.",
        lambda seen: list(seen.facts.standing.verdicts.items()),
        ("bundle", "verdict"),
    ),
    Gauge(
        "cxr_disk_free_bytes",
        "Free bytes on the disk of the storage root.",
        _one(lambda seen: seen.facts.disk_free_bytes),
    ),
    Gauge(
        "cxr_disk_free_ratio",
        "The free part of it, 0 to 1.",
        _one(lambda seen: seen.facts.disk_free_percent / 100),
    ),
    Gauge(
        "cxr_certificate_expiry_timestamp_seconds",
        "When the first certificate of a setting expires.",
        lambda seen: [((setting,), at) for setting, at in seen.facts.certificates],
        ("setting",),
    ),
    Gauge(
        "cxr_drift_score",
        "How far the newest films are from those of training (PSI beyond chance), by number.",
        _by_feature,
        ("feature",),
    ),
    Gauge("cxr_drift_films", "The films that it is told from; 0: it is not.", _one(_drift_films)),
    Gauge("cxr_alert_active", "Alerts of the node that are active, by name.", _alerts, ("alert",)),
)
"""Every gauge of the node."""
