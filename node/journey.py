"""A study's journey as spans of time, from its timeline: receive, complete, wait, draft, deliver.

Pure. Traces, metrics and the usage report are made of it; no span names a patient or holds a UID.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.metered_draft import steps_of
from node.records import Stage

ENDS: Final = ("done", "skipped", "failed")
"""The stages with which a journey ends."""
_DRAFT_ENDS: Final = ("drafted", "skipped", "failed")
_CARRIED: Final = ("sent", "parked")


@dataclass(frozen=True)
class Span:
    """Something that took time; instants in seconds since 1970."""

    name: str
    start: float
    end: float
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    inner: tuple[Span, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True)
class Journey:
    """One generation of a study."""

    key: str
    generation: int
    state: str
    peer: str
    first_at: float
    last_at: float
    stages: Sequence[Stage]
    """Its timeline, in order."""


def spans_of(journey: Journey) -> Span:
    """Return a journey as one span with those of its parts inside, in order of time."""
    parts = tuple(_parts(journey))
    start = min([journey.first_at, *(part.start for part in parts)])
    end = max([start, journey.last_at, *(part.end for part in parts)])
    attributes: dict[str, str | int] = {
        "cxr.study": journey.key,
        "cxr.generation": journey.generation,
        "cxr.state": journey.state,
        "cxr.peer": journey.peer,
    }
    return Span("study", start, end, attributes, parts)


def _parts(journey: Journey) -> Iterator[Span]:
    stages = journey.stages
    ready = _first(stages, "ready")
    if journey.generation == 1 or ready is None or journey.first_at <= ready.at:
        yield _span("receive", journey.first_at, journey.last_at)
    if ready is not None and journey.last_at <= ready.at:
        yield _span("complete", journey.last_at, ready.at)
    claimed = _last(stages, "claimed")
    if claimed is not None:
        if ready is not None:
            yield _span("wait", ready.at, claimed.at)
        yield from _draft(stages, claimed)
    drafted = _last(stages, "drafted")
    if drafted is not None:
        yield from _delivery(stages, drafted)


def _draft(stages: Sequence[Stage], claimed: Stage) -> Iterator[Span]:
    """Yield the draft that came of the last claim, with its steps."""
    since = list(stages)[_place(stages, claimed) + 1 :]
    end = next((one for one in since if one.name in _DRAFT_ENDS), None)
    if end is None:
        return
    during = since[: since.index(end)]
    inner, before = [], claimed.at
    for stage in during:
        for step, _ in steps_of(before, [stage]):
            inner.append(_span(step, before, stage.at))
        before = stage.at
    yield _span("draft", claimed.at, end.at, {"cxr.outcome": end.name}, tuple(inner))


def _delivery(stages: Sequence[Stage], drafted: Stage) -> Iterator[Span]:
    """Yield a span for what was carried to destinations, and one for their commitments."""
    since = list(stages)[_place(stages, drafted) + 1 :]
    carried = [one for one in since if one.name in _CARRIED]
    if not carried:
        return
    inner = tuple(_span("send", drafted.at, one.at, _of_delivery(one)) for one in carried)
    yield _span("deliver", drafted.at, max(one.at for one in carried), {}, inner)
    committed = [one for one in since if one.name == "committed"]
    if committed:
        sent_at = min(one.at for one in carried)
        inner = tuple(_span("commitment", sent_at, one.at, _of_delivery(one)) for one in committed)
        yield _span("commit", sent_at, max(one.at for one in committed), {}, inner)


def _of_delivery(stage: Stage) -> dict[str, str | int]:
    """Read `report to pacs: reason` (`node.outbox`); the reason stays in the ledger."""
    kind, _, destination = stage.detail.partition(": ")[0].partition(" to ")
    return {"cxr.kind": kind, "cxr.destination": destination, "cxr.status": stage.name}


def _span(
    name: str,
    start: float,
    end: float,
    attributes: Mapping[str, str | int] | None = None,
    inner: tuple[Span, ...] = (),
) -> Span:
    """Return a span that ends after it begins and holds those inside, whatever a clock did."""
    start = min([start, *(one.start for one in inner)])
    end = max([start, end, *(one.end for one in inner)])
    return Span(name, start, end, attributes or {}, inner)


def _first(stages: Sequence[Stage], name: str) -> Stage | None:
    return next((one for one in stages if one.name == name), None)


def _last(stages: Sequence[Stage], name: str) -> Stage | None:
    return next((one for one in reversed(stages) if one.name == name), None)


def _place(stages: Sequence[Stage], wanted: Stage) -> int:
    return next(place for place, one in enumerate(stages) if one is wanted)
