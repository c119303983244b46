"""Traces of studies that ended, read from the ledger, whichever process did which part of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from node.clock import Clock
from node.journey import ENDS, Journey, Span, spans_of
from node.logs import get_logger, say
from node.records import Stage
from node.schema import event, study
from node.transactions import reading

_LOG = get_logger("traces")
_BATCH: Final = 50
_RETRY_S: Final = 30.0
MARK: Final = "traced"
"""The file below the storage root that says how far the traces have come."""


class Exporter(Protocol):
    """Sends traces away; `node.otlp.OtlpExporter` is one."""

    def export(self, traces: Sequence[tuple[str, Span]]) -> bool:
        """Send traces, each under a name of its own; tell whether they were taken."""


class Tracer:
    """Exports each study's journey once it has ended.

    Parameters
    ----------
    root
        The storage root.
    """

    def __init__(self, engine: Engine, exporter: Exporter, root: Path, clock: Clock) -> None:
        self._engine = engine
        self._exporter = exporter
        self._mark = root / MARK
        self._clock = clock
        self._next_at = 0.0
        self._done = self._begin()

    def step(self) -> bool:
        """Export what ended since; what is not taken is tried again later."""
        now = self._clock.now()
        if now < self._next_at:
            return False
        ended = self._ended()
        if not ended:
            return False
        traces = [
            (f"{uid} {generation} {number}", trace)
            for number, uid, generation in ended
            if (trace := self._trace(uid, generation, number)) is not None
        ]
        if traces and not self._exporter.export(traces):
            self._next_at = now + _RETRY_S
            hint = "does a collector run at node.tracing.endpoint"
            say(_LOG, "traces.refused", level=logging.WARNING, waiting=len(traces), hint=hint)
            return False
        self._done = ended[-1][0]
        self._mark.write_text(str(self._done))
        return len(ended) == _BATCH

    def _begin(self) -> int:
        """Return where an earlier run stopped, or the end: there are no traces of the past."""
        with reading(self._engine) as connection:
            newest = connection.execute(sa.select(sa.func.max(event.c.id))).scalar() or 0
        with suppress(OSError, ValueError):
            return min(int(self._mark.read_text()), newest)
        self._mark.write_text(str(newest))
        return int(newest)

    def _ended(self) -> list[tuple[int, str, int]]:
        """Return the next ends of journeys: number of the event, study and generation."""
        query = (
            sa.select(event.c.id, event.c.study_uid, event.c.generation)
            .where(event.c.id > self._done, event.c.name.in_((*ENDS, "drafted")))
            .order_by(event.c.id)
            .limit(_BATCH)
        )
        with reading(self._engine) as connection:
            return [
                (int(row.id), row.study_uid, row.generation) for row in connection.execute(query)
            ]

    def _trace(self, study_uid: str, generation: int, until: int) -> Span | None:
        """Return a study's journey up to an event; None where it goes on or is forgotten."""
        place = (event.c.study_uid == study_uid, event.c.generation == generation)
        with reading(self._engine) as connection:
            row = connection.execute(
                sa.select(study).where(
                    study.c.study_uid == study_uid, study.c.generation == generation
                )
            ).one_or_none()
            events = connection.execute(
                sa.select(event.c.id, event.c.name, event.c.at, event.c.detail)
                .where(*place)
                .order_by(event.c.at, event.c.id)
            ).all()
        if row is None:
            return None
        goes_on = row.state not in ("DONE", "SKIPPED", "FAILED")
        last = [one.name for one in events if one.id == until]
        if last == ["drafted"] and (goes_on or any(one.name in ENDS for one in events)):
            return None  # its end will come, or has come, with an event of its own
        stages = [Stage(one.name, one.at, one.detail) for one in events]
        return spans_of(
            Journey(row.key, generation, row.state, row.peer, row.first_at, row.last_at, stages)
        )
