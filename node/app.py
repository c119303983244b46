"""The node assembled: every part made once, handed what it needs, started and stopped in order."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import FrameType

from node.announcements import Announcements
from node.audit import Auditor, trail_path, whose
from node.audit_chain import Chain
from node.audit_events import AuditedEvents
from node.audit_forward import Forwarder
from node.clock import Clock, SystemClock
from node.commitments import Commitments
from node.committer import Committer
from node.config import PeerSettings, Settings
from node.confined import ConfinedRenderer
from node.confirmer import Confirmer
from node.custodian import Custodian
from node.custody import Custody
from node.delivery import Deliverer
from node.dispatch import LocalDispatch, Step
from node.errors import NodeError
from node.journal import Journal
from node.ledger import Ledger
from node.logs import get_logger, say
from node.offered import services_of
from node.outbox import Outbox
from node.peers import PeerBook
from node.pipeline import Drafter, Pipeline
from node.receiver import Receiver
from node.retention import Retention
from node.scp import Scp
from node.scu import Scu
from node.spool import Spool
from node.syslog import Repository
from node.tls import Tls
from node.transactions import open_ledger
from node.worker import Closer, Worker

_LOG = get_logger("app")
_STOP_TIMEOUT_S = 30.0
_SIGNAL_LOOK_S = 1.0


class PortTaken(NodeError):
    """The node cannot listen on its port."""

    default_hint = "is another node running, or does the port need privileges"


def destinations_of(peers: Mapping[str, PeerSettings]) -> dict[str, list[str]]:
    """Return, for each kind of output, the names of the peers that get it."""
    kinds = sorted({kind for peer in peers.values() for kind in peer.send})
    return {kind: [name for name, peer in peers.items() if kind in peer.send] for kind in kinds}


class Node:
    """A node that can be started and stopped.

    Parameters
    ----------
    settings
        The whole configuration.
    engine
        The model that drafts.
    clock
        The time; tests pass their own.

    Raises
    ------
    StorageError
        The storage root cannot be used, or another node uses it.
    TlsError
        A certificate or key is not fit for use.
    """

    def __init__(self, settings: Settings, engine: Drafter, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._tls = Tls(settings.node.tls, self._clock)
        self._spool = Spool(settings.node.storage)
        self._spool.prepare()
        self._spool.lock()
        database = open_ledger(self._spool.ledger_path)
        self._database = database
        self._ledger = Ledger(database)
        committing = [name for name, peer in settings.peers.items() if peer.commitment]
        self._outbox = Outbox(database, committing)
        self._retention = Retention(settings.node.storage, database, self._clock)
        self.journal = Journal(database)
        self._dispatch = LocalDispatch(settings.node.work.sweep_s)
        scu = Scu(settings.node, self._tls)
        self._deliverer = Deliverer(
            settings.peers, settings.outputs.outbox, scu, self._outbox, self._spool, self._clock
        )
        self._committer = self._make_committer(scu)
        self._custody = Custody(database, self._spool)
        self._custodian = Custodian(
            settings.peers, settings.outputs.outbox, scu, self._custody, self._clock
        )
        self._announcements = Announcements(database, self._clock, self._dispatch.kick)
        self._scp = Scp(
            settings.node,
            PeerBook(settings.peers),
            Receiver(settings.node.intake, self._spool, self._ledger, self._clock),
            self.journal,
            self._clock,
            self._tls,
            services_of(self._committer, self._custodian, self._announcements),
        )
        self._auditor = self._make_auditor() if settings.node.audit.enabled else None
        self._renderer = ConfinedRenderer(settings.node.work)
        pipeline = Pipeline(engine, self._renderer, settings.outputs, self._spool, self._clock)
        self._add_steps(pipeline, scu)

    def _make_committer(self, scu: Scu) -> Committer:
        outputs = self.settings.outputs
        commitments = Commitments(
            self._database,
            max_resends=outputs.commitment.max_resends,
            give_up_after_s=outputs.outbox.give_up_after_h * 3600,
        )
        kick = self._dispatch.kick
        return Committer(self.settings.peers, outputs, scu, commitments, self._clock, kick)

    def _make_confirmer(self, scu: Scu) -> Confirmer:
        is_inside = self.settings.outputs.synthetic.identity == "same_study"
        return Confirmer(
            self.settings.peers,
            self.settings.node.study,
            ("report", "synthetic") if is_inside else ("report",),
            scu,
            self._database,
            self._announcements,
            self._clock,
            self._scp.open_study_uids,
        )

    def _add_steps(self, pipeline: Pipeline, scu: Scu) -> None:
        """Put every step into service; work done kicks the step that comes next."""
        settings, clock = self.settings, self._clock
        open_study_uids = self._scp.open_study_uids
        closer = Closer(
            self._ledger, self._announcements, settings.node.study, clock, open_study_uids
        )
        self._dispatch.add("closer", self._kicking(closer.step))
        if any(peer.query for peer in settings.peers.values()):
            self._dispatch.add("confirmer", self._kicking(self._make_confirmer(scu).step))
        self._dispatch.add("certificates", self._tls.step)
        self._dispatch.add("retention", self._retention.step)
        destinations = destinations_of(settings.peers)
        for number in range(settings.node.work.num_workers):
            worker = Worker(
                f"worker-{number}.{os.getpid()}",
                self._ledger,
                pipeline,
                clock,
                settings.node.work,
                settings.outputs.outbox,
                destinations,
            )
            limit_s = settings.node.work.lease_s
            self._dispatch.add(f"worker-{number}", self._kicking(worker.step), limit_s)
        for name in sorted({name for names in destinations.values() for name in names}):
            deliver = partial(self._deliverer.deliver_due, name)
            self._dispatch.add(f"deliver-{name}", self._kicking(deliver))
        for name, peer in settings.peers.items():
            if peer.commitment:
                self._dispatch.add(f"commit-{name}", partial(self._committer.step, name))
            if "commitment" in peer.allow:
                self._dispatch.add(f"report-{name}", partial(self._custodian.step, name))

    def _make_auditor(self) -> Auditor:
        """Put the audit trail into service, and its way to the repository."""
        settings, clock = self.settings, self._clock
        chain = Chain(trail_path(settings))
        events = AuditedEvents(self._database, settings, lambda path: whose(self._spool.path(path)))
        auditor = Auditor(settings, chain, events, self._tls, clock)
        self._dispatch.add("audit", auditor.step)
        if settings.node.audit.syslog.host:
            deadline_s = settings.node.acse_timeout_s
            repository = Repository(settings.node.audit.syslog, self._tls, deadline_s)
            self._dispatch.add("audit-forward", Forwarder(chain.path, repository, clock).step)
        return auditor

    def _kicking(self, step: Step) -> Step:
        """Return a step that wakes the others when it did something."""

        def kicking() -> bool:
            did = step()
            if did:
                self._dispatch.kick()
            return did

        return kicking

    def start(self) -> None:
        """Recover what an earlier run left, then listen and work.

        Raises
        ------
        PortTaken
            The port cannot be bound.
        """
        if self._auditor is not None:
            self._auditor.start()
        self._retention.recover()
        now = self._clock.now()
        resumed = self._ledger.recover(now)
        self._outbox.recover(now, self.settings.outputs.outbox)
        self._deliverer.park_orphans()
        self._committer.recover(now)
        may_ask = [name for name, peer in self.settings.peers.items() if "commitment" in peer.allow]
        self._custody.recover(now, may_ask)
        if not self.settings.peers:
            say(_LOG, "peers.none", hint="every association will be refused")
        try:
            self._scp.start()
        except OSError as error:
            place = f"{self.settings.node.bind}:{self.settings.node.port}"
            raise PortTaken(f"cannot listen on {place}: {error.strerror}") from error
        self._dispatch.start()
        say(_LOG, "node.started", ae_title=self.settings.node.ae_title, resumed=resumed)

    def warm_up(self) -> None:
        """Start now what would otherwise start with the first study."""
        self._renderer.warm_up()

    def reload(self) -> bool:
        """Read certificates and keys again; tell whether they are in use now."""
        return self._tls.reload()

    def stop(self) -> None:
        """Stop listening, let the steps under way end, and give the storage back."""
        self._scp.stop()
        ended = self._dispatch.stop(_STOP_TIMEOUT_S)
        self._renderer.stop()
        if self._auditor is not None:
            self._auditor.stop()
        self._database.dispose()
        self._spool.unlock()
        say(_LOG, "node.stopped", unfinished=not ended)


def run_until_signalled(node: Node) -> None:
    """Run a node until SIGTERM or SIGINT; SIGHUP makes it read its certificates again."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    node.start()
    node.warm_up()
    while (came := _next_signal(signals)) in (None, signal.SIGHUP):
        if came is not None:
            node.reload()
    node.stop()


def _next_signal(signals: queue.SimpleQueue[int]) -> int | None:
    """Wait for a signal, not for ever: one that another thread was given wakes nobody here."""
    with suppress(queue.Empty):
        return signals.get(timeout=_SIGNAL_LOOK_S)
    return None
