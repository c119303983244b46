"""How the node is watched, put together: facts, alerts, metrics, readiness and traces."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import Final

from sqlalchemy.engine import Engine

from node.alerts import Alert, Change
from node.clock import Clock
from node.config import Settings
from node.dispatch import Dispatch, Step
from node.errors import NodeError
from node.facts import Facts, FactsReader, expiries_of, facts_reader
from node.gauges import Seen
from node.meters import Meters
from node.monitor import Monitor
from node.ports import Drafter
from node.prometheus import Gauges, PrometheusMeters, timed_transactions
from node.readiness import Readiness, ledger_test, room_test, state_test
from node.scp import Scp
from node.spool import Spool
from node.tls import Tls
from node.traces import Tracer
from node.watch import Watch
from node.webhook import Webhook

_DIGEST_LENGTH: Final = 12


class TracingNotInstalled(NodeError):
    """Traces need packages that are not installed."""

    default_hint = 'pip install "cxr-node[otel]", or set node.tracing.endpoint: null'


class Observation:
    """Watches a node, and serves what it sees.

    Parameters
    ----------
    settings
        The whole configuration.
    engine
        The model that drafts; None where this process does not.
    meters
        Count what happens; they are served where they are Prometheus's.

    Raises
    ------
    TracingNotInstalled
        An endpoint is set, and OpenTelemetry is not there.
    """

    def __init__(
        self,
        settings: Settings,
        database: Engine,
        spool: Spool,
        tls: Tls,
        clock: Clock,
        engine: Drafter | None,
        scp: Scp,
        dispatch: Dispatch,
        meters: Meters,
    ) -> None:
        self._settings = settings
        self._engine = engine if "draft" in settings.node.roles else None
        self._scp = scp
        self._dispatch = dispatch
        self._warm = threading.Event()
        self._facts: FactsReader = facts_reader(
            settings, database, partial(expiries_of, tls), clock
        )
        hook = settings.node.alerts.webhook
        self._webhook = Webhook(hook, settings.node.ae_title, clock) if hook.url else None
        self._watch = Watch(self._facts, settings.node, self._tell)
        self._tracer = self._make_tracer(database, clock)
        self._readiness = self._make_readiness(database, spool)
        is_served = settings.node.metrics.enabled  # the meters may be those of settings before
        self._meters = meters if is_served and isinstance(meters, PrometheusMeters) else None
        self._gauges = Gauges(self._see)
        self._monitor: Monitor | None = None
        self._database = database
        self._served = ExitStack()
        self._serving = False
        if self._meters is not None:
            metrics = settings.node.metrics
            self._monitor = Monitor(
                metrics, self._meters.render, dispatch.dead, self._readiness.missing
            )

    def _make_readiness(self, database: Engine, spool: Spool) -> Readiness:
        tests = {"ledger": ledger_test(database), "disk": room_test(spool.check_room)}
        if self._engine is not None:
            tests["model"] = state_test(self._warm.is_set, "the model is not warmed up yet")
        if "receive" in self._settings.node.roles:
            tests["scp"] = state_test(self._scp.is_listening, "the DICOM port is not open")
        return Readiness(tests)

    def _make_tracer(self, database: Engine, clock: Clock) -> Tracer | None:
        """Return what exports traces, where that is asked for and deliveries end here."""
        node = self._settings.node
        if node.tracing.endpoint is None or "deliver" not in node.roles:
            return None
        try:
            from node.otlp import OtlpExporter  # its packages come with the extra `otel`
        except ImportError as error:
            raise TracingNotInstalled from error
        return Tracer(database, OtlpExporter(node.tracing, node.ae_title), node.storage.root, clock)

    def steps(self) -> Iterator[tuple[str, Step]]:
        """Yield what is to be done again and again."""
        yield "alerts", self._watch.step
        if self._webhook is not None:
            yield "alerts-webhook", self._webhook.step
        if self._tracer is not None:
            yield "traces", self._tracer.step

    def start(self) -> None:
        """Serve metrics, health and readiness, if that is asked for and not so already.

        Raises
        ------
        MonitorPortTaken
            The port cannot be bound.
        """
        if self._monitor is None or self._meters is None:
            return
        if not self._serving:
            meters, gauges = self._meters, self._gauges
            meters.add(gauges)
            self._served.callback(meters.remove, gauges)
            self._served.enter_context(timed_transactions(self._database, meters, time.monotonic))
            self._serving = True
        self._monitor.start()

    def stop(self) -> None:
        """Serve no more."""
        if self._monitor is not None:
            self._monitor.stop()
        self._served.close()

    def warmed_up(self) -> None:
        """Take note that the model is ready."""
        self._warm.set()

    def alerts(self) -> tuple[Alert, ...]:
        """Return the active alerts."""
        return self._watch.alerts()

    def facts(self) -> Facts:
        """Return how the node stands, as of some seconds ago."""
        return self._facts.read()

    def missing(self) -> dict[str, str]:
        """Return the parts that are not ready, each with the reason."""
        return self._readiness.missing()

    def _tell(self, change: Change) -> None:
        if self._webhook is not None:
            self._webhook.put(change)

    def _see(self) -> Seen:
        """Look at the node, for one scrape."""
        return Seen(
            self._facts.read(),
            self._watch.alerts(),
            self._scp.num_associations(),
            self._scp.num_connections(),
            not self._readiness.missing(),
            version("cxr-node"),
            self._bundle(),
        )

    def _bundle(self) -> tuple[str, str, str]:
        """Return who the model is; asking one that is not loaded yet would wait for it."""
        if self._engine is None or not self._warm.is_set():
            return "", "", ""
        engine = self._engine
        return engine.name, engine.version, engine.digest[:_DIGEST_LENGTH]
