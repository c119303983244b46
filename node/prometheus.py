"""Metrics for Prometheus: counters as things happen, gauges from the ledger at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from node.config import NodeSettings
from node.errors import LedgerError
from node.gauges import GAUGES, Seen
from node.meters import METERS, NO_METERS, TRANSACTION_SECONDS, Meter, Meters

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class PrometheusMeters:
    """Counts in a registry of its own, and renders it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._counters = {
            one: Counter(one.name, one.text, one.labels, registry=self._registry)
            for one in METERS
            if not one.buckets
        }
        self._histograms = {
            one: Histogram(
                one.name, one.text, one.labels, registry=self._registry, buckets=one.buckets
            )
            for one in METERS
            if one.buckets
        }

    def count(self, meter: Meter, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        counter = self._counters[meter]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def observe(self, meter: Meter, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        histogram = self._histograms[meter]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def add(self, gauges: Collector) -> None:
        """Take gauges in; they are read at each scrape."""
        self._registry.register(gauges)

    def remove(self, gauges: Collector) -> None:
        """Leave gauges out again."""
        self._registry.unregister(gauges)


class Gauges(Collector):
    """The gauges of a running node.

    Parameters
    ----------
    see
        Looks at the node; where the ledger does not answer, the scrape goes without them.
    """

    def __init__(self, see: Callable[[], Seen]) -> None:
        self._see = see

    def describe(self) -> Iterable[Metric]:
        """Name the gauges, without looking at the node."""
        return [GaugeMetricFamily(one.name, one.text, labels=one.labels) for one in GAUGES]

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of now."""
        up = GaugeMetricFamily("cxr_ledger_up", "1 where the ledger answered this scrape.")
        try:
            seen = self._see()
        except LedgerError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        for one in GAUGES:
            family = GaugeMetricFamily(one.name, one.text, labels=one.labels)
            for labels, value in one.read(seen):
                family.add_metric(labels, value)
            yield family


def open_meters(settings: NodeSettings) -> Meters:
    """Return what counts for a node: nothing, unless its metrics are served."""
    return PrometheusMeters() if settings.metrics.enabled else NO_METERS


@contextmanager
def timed_transactions(
    engine: sa.Engine, meters: Meters, now: Callable[[], float]
) -> Iterator[None]:
    """Measure every transaction of a database in the block, the wait for its lock included."""

    def on_begin(connection: sa.Connection) -> None:
        connection.info["began_at"] = now()

    def on_end(connection: sa.Connection) -> None:
        began_at = connection.info.pop("began_at", None)
        if began_at is not None:
            is_reading = connection.get_execution_options().get("reading", False)
            kind = "read" if is_reading else "write"
            meters.observe(TRANSACTION_SECONDS, now() - began_at, kind)

    listening = (("begin", on_begin), ("commit", on_end), ("rollback", on_end))
    for name, listener in listening:
        # the first of all: before the lock is taken
        sa.event.listen(engine, name, listener, insert=name == "begin")
    yield
    for name, listener in listening:
        sa.event.remove(engine, name, listener)
