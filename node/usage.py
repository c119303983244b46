"""What the node did in a stretch of time: how much, how fast, and what readers made of it.

Pure. `node.usage_reader` reads the rows; nothing here names a patient or a study.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from node.clock import as_datetime
from node.feedback import VERDICTS
from node.journey import Journey, Span, spans_of

RANKS: Final = (50, 90, 95, 99)
_Z95: Final = 1.959964
"""The 0.975 quantile of the normal distribution."""
_MAX_REASONS: Final = 20
LATENCY: Final = "last image to report stored"
_OUTCOMES: Final = ("drafted", "skipped", "failed")


@dataclass(frozen=True)
class Spread:
    """Percentiles of durations, in seconds."""

    count: int
    percentiles: Mapping[int, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take the nearest rank, so that each is a duration that there was."""
        ordered = sorted(values)
        ranks = {rank: math.ceil(rank / 100 * len(ordered)) - 1 for rank in RANKS}
        return cls(len(ordered), {rank: round(ordered[at], 3) for rank, at in ranks.items()})


@dataclass(frozen=True)
class Shares:
    """What readers made of the drafts of one bundle."""

    counts: Mapping[str, int]
    accepted: float
    low: float
    high: float
    """Wilson's interval of the accepted share, 95 %."""

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Shares:
        """Sum up verdicts."""
        total = sum(counts.values())
        low, high = wilson(counts.get("accept", 0), total)
        return cls(dict(counts), counts.get("accept", 0) / total if total else 0.0, low, high)


@dataclass(frozen=True)
class Way:
    """Deliveries to one destination."""

    counts: Mapping[str, int]
    uptime: float
    """Share of the time in which no object waited there after a vain attempt."""


@dataclass(frozen=True)
class Usage:
    """The report."""

    since: float
    until: float
    num_studies: int
    num_images: int
    num_bytes: int
    outcomes: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    by_day: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, Spread]
    ways: Mapping[str, Way]
    verdicts: Mapping[str, Shares]
    questions: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return the report JSON-ready."""
        values = asdict(self)
        values["since"], values["until"] = iso(self.since), iso(self.until)
        return values


def iso(at: float) -> str:
    """Return an instant as local time."""
    return as_datetime(at).astimezone().isoformat(timespec="seconds")


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927); of nothing it is everything."""
    if not total:
        return 0.0, 1.0
    share, z2 = hits / total, _Z95**2
    centre = share + z2 / (2 * total)
    reach = _Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    scale = 1 + z2 / total
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


@dataclass
class Sums:
    """What the journeys of a stretch of time add up to, one after the other."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_day: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    durations: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, journey: Journey) -> None:
        """Take a journey in."""
        for stage in journey.stages:
            if stage.name in _OUTCOMES:
                self.outcomes[stage.name] += 1
                self.by_day[iso(stage.at)[:10]][stage.name] += 1
            if stage.name in ("skipped", "failed"):
                self.reasons[stage.name][stage.detail] += 1
        if journey.stages and journey.stages[0].name == "received":  # images began it
            self._time(journey)

    def _time(self, journey: Journey) -> None:
        root = spans_of(journey)
        for part in root.inner:
            self.durations[part.name].append(part.seconds)
            if part.name == "draft":
                for step in part.inner:
                    self.durations[f"draft: {step.name}"].append(step.seconds)
        stored = _report_stored_at(root)
        if stored is not None:
            self.durations[LATENCY].append(max(0.0, stored - journey.last_at))

    def spreads(self) -> dict[str, Spread]:
        """Return the percentiles of every duration, the one that people wait for first."""
        names = sorted(self.durations, key=lambda name: (name != LATENCY, name))
        return {name: Spread.of(self.durations[name]) for name in names}

    def most_common(self) -> dict[str, dict[str, int]]:
        """Return the reasons that were given most, by outcome."""
        return {name: dict(found.most_common(_MAX_REASONS)) for name, found in self.reasons.items()}


def _report_stored_at(root: Span) -> float | None:
    """Return when a destination first had the report."""
    sends = (send for part in root.inner if part.name == "deliver" for send in part.inner)
    stored = [
        send.end
        for send in sends
        if (send.attributes["cxr.kind"], send.attributes["cxr.status"]) == ("report", "sent")
    ]
    return min(stored, default=None)


def verdicts_of(rows: Iterable[tuple[str, str]]) -> dict[str, Shares]:
    """Return what readers made of drafts, from pairs of bundle and verdict."""
    counts: dict[str, dict[str, int]] = {}
    for bundle, verdict in rows:
        of_bundle = counts.setdefault(bundle, dict.fromkeys(VERDICTS, 0))
        of_bundle[verdict] = of_bundle.get(verdict, 0) + 1
    return {bundle: Shares.of(of_bundle) for bundle, of_bundle in sorted(counts.items())}


def uptime(waits: Iterable[tuple[float, float]], since: float, until: float) -> float:
    """Return the share of a stretch of time that no interval of waiting covers."""
    down, reached = 0.0, since
    for start, end in sorted(waits):
        start, end = max(start, reached), min(end, until)
        if end > start:
            down += end - start
            reached = end
    return 1 - down / (until - since) if until > since else 1.0
