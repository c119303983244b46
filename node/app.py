"""The node assembled: every part made once, handed what it needs, started and stopped in order."""

from __future__ import annotations

import os
import socket
from functools import partial

import sqlalchemy as sa

from node.alerts import Alert
from node.announcements import Announcements
from node.audit import Auditor, whose
from node.audit_chain import Chain
from node.audit_events import AuditedEvents
from node.audit_forward import Forwarder
from node.carried import CarriedStudies
from node.clock import Clock
from node.config import Settings
from node.configuration_state import ConfigurationState, write_state
from node.confined import ConfinedRenderer
from node.confirmer import Confirmer
from node.crew import Bench, Crew
from node.database import ledger_url
from node.departures import Departures, queues_of
from node.dispatch import Dispatch, LocalDispatch, Step
from node.errors import NodeError
from node.journal import Journal
from node.ledger import Ledger
from node.log_tail import LogTail
from node.logs import get_logger, say
from node.makers import kinds_in_study
from node.meters import NO_METERS, Meters
from node.models import Models
from node.objects import Copies
from node.observation import Observation
from node.offered import services_of
from node.operations import Operations
from node.peer_trial import PeerTrial
from node.peers import PeerBook
from node.ports import Drafter
from node.premises import Premises
from node.prometheus import open_meters
from node.questions import Questions
from node.receiver import Receiver
from node.retention import Retention
from node.scp import Scp
from node.scu import Scu
from node.syslog import Repository
from node.tls import Tls
from node.triage import Triage
from node.web.office import Office
from node.web.server import open_web
from node.worker import Closer

_LOG = get_logger("app")
_STOP_TIMEOUT_S = 30.0
_DELIVERY_LIMIT_S = 900.0
"""A batch to a peer that has not ended by then hangs, and another thread goes on."""


class PortTaken(NodeError):
    """The node cannot listen on its port."""

    default_hint = "is another node running, or does the port need privileges"


class Node:
    """A node that can be started and stopped.

    Parameters
    ----------
    settings
        The whole configuration.
    engine
        The model that drafts; None where this process does not.
    clock
        The time; tests pass their own.
    challenger
        The second model, where `engine.challenger` names one.
    premises
        What an earlier node worked on, for one that takes its place; it has the clock then.
    meters
        Count what happens; without any, the node opens its own where metrics are served.

    Raises
    ------
    StorageError
        The storage root cannot be used, or another node uses it.
    TlsError
        A certificate or key is not fit for use.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Drafter | None,
        clock: Clock | None = None,
        *,
        challenger: Drafter | None = None,
        premises: Premises | None = None,
        meters: Meters = NO_METERS,
    ) -> None:
        self.settings = settings
        self._meters = meters if meters is not NO_METERS else open_meters(settings.node)
        self._drafters = (engine, challenger)
        share = settings.engine.challenger_share
        self._models = Models(engine, challenger, share) if engine is not None else None
        self._premises = premises = premises or Premises(settings, clock)
        self._shares, self._objects = premises.shares, premises.objects
        self._name = f"{socket.gethostname()}.{os.getpid()}"
        self._spool = premises.spool.under(settings.node.storage)
        self._database = database = premises.database
        self._clock = premises.clock
        self._tls = Tls(settings.node.tls, self._clock)
        self._ledger = Ledger(database)
        self._retention = Retention(settings.node.storage, database, self._clock, self._objects)
        self.journal = Journal(database)
        self._questions = Questions(database)
        self._dispatch: Dispatch = self._make_dispatch(ledger_url(settings.node))
        scu = Scu(settings.node, self._tls)
        kick = self._dispatch.kick
        self._departures = Departures(
            settings, scu, database, self._spool, self._clock, kick, self._meters
        )
        self._announcements = Announcements(database, self._clock, kick)
        self._scp = Scp(
            settings.node,
            PeerBook(settings.peers),
            Receiver(settings.node.intake, self._spool, self._ledger, self._clock, self._meters),
            self.journal,
            self._clock,
            self._tls,
            services_of(
                self._departures.committer, self._departures.custodian, self._announcements
            ),
            self._meters,
        )
        chain = premises.chain
        self._auditor = None if chain is None else self._make_auditor(chain)
        self._renderer = ConfinedRenderer(settings.node.work)
        self.observation = Observation(
            settings,
            database,
            self._spool,
            self._tls,
            self._clock,
            engine,
            self._scp,
            self._dispatch,
            self._meters,
        )
        self._add_steps(scu)
        office = partial(self._make_office, scu)
        self._web = open_web(settings.node, premises, self._spool, kick, office)

    def _make_office(self, scu: Scu) -> Office:
        """Return what the pages for administrators are shown."""
        settings, database = self.settings, self._database
        return Office(
            settings,
            database,
            self.journal,
            Operations(database, settings.outputs.outbox.give_up_after_s),
            PeerTrial(settings, scu, self._tls, self._clock, database),
            self.observation.facts,
            self.alerts,
            self.observation.missing,
            self.configuration_state,
            self._scp.num_associations,
            LogTail(),
        )

    def _make_confirmer(self, scu: Scu) -> Confirmer:
        return Confirmer(
            self.settings.peers,
            self.settings.node.study,
            kinds_in_study(self.settings.outputs),
            scu,
            self._database,
            self._announcements,
            self._clock,
            self._premises.open_study_uids,
        )

    def _make_dispatch(self, url: sa.URL) -> Dispatch:
        work = self.settings.node.work
        if work.dispatch == "local":
            return LocalDispatch(work.sweep_s)
        from node.dispatch_jobs import JobDispatch  # its packages come with the extra `cluster`

        queues = {"draft": True} | dict.fromkeys(queues_of(self.settings), False)
        return JobDispatch(url, work.sweep_s, queues)

    def _add_steps(self, scu: Scu) -> None:
        """Put the steps of every role into service; work done kicks the step that comes next."""
        settings, clock = self.settings, self._clock
        open_here = self._premises.open_study_uids
        carried = CarriedStudies(self._database, self._name, clock, open_here)
        if self._shares:
            self._dispatch.add("carried", carried.step)
        closer = Closer(
            self._ledger,
            self._announcements,
            settings.node.study,
            clock,
            carried.open_study_uids if self._shares else open_here,
            Triage(settings.outputs.rules, self._ledger, self._spool).is_stat,
        )
        self._dispatch.add("closer", self._kicking(closer.step))
        self._dispatch.add("certificates", self._tls.step)
        for name, step in self.observation.steps():
            self._dispatch.add(name, step)
        if self._objects is not None:
            self._dispatch.add("copies", Copies(settings.node.storage.root).step)
        if "draft" in settings.node.roles and self._models is not None:
            self._add_drafting(self._models, scu)
        if "deliver" in settings.node.roles:
            self._add_delivery(scu)

    def _add_drafting(self, models: Models, scu: Scu) -> None:
        """Put the workers into service, and what answers questions."""
        settings, limit_s = self.settings, self.settings.node.work.draft_timeout_s
        bench = Bench(
            settings,
            self._name,
            self._database,
            self._spool,
            self._renderer,
            scu,
            self._clock,
            self._meters,
        )
        crew = Crew(bench, models)
        self._dispatch.add("leases", crew.leases.step)
        steps = [self._kicking(worker.step) for worker in crew.workers]
        self._dispatch.share("draft", steps, limit_s)
        self._dispatch.add("answers", self._kicking(crew.answerer.step), limit_s)

    def _add_delivery(self, scu: Scu) -> None:
        """Put what calls peers, audits and clears away into service."""
        if any(peer.query for peer in self.settings.peers.values()):
            self._dispatch.add("confirmer", self._kicking(self._make_confirmer(scu).step))
        self._dispatch.add("retention", self._retention.step)
        for name, step in self._departures.steps().items():
            self._dispatch.share(name, [step], _DELIVERY_LIMIT_S)

    def _make_auditor(self, chain: Chain) -> Auditor:
        """Put the audit trail into service, and its way to the repository."""
        settings, clock = self.settings, self._clock
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

    def start(self, *, resumes: bool = False) -> None:
        """Recover what an earlier run left, then listen and work.

        Parameters
        ----------
        resumes
            Another node on the same premises was working until now: there is nothing to recover.

        Raises
        ------
        PortTaken, WebPortTaken, MonitorPortTaken
            A port cannot be bound.
        """
        self.open_monitor()
        if self._auditor is not None:
            self._auditor.start(resumes=resumes)
        resumed = 0 if self._shares or resumes else self._recover()
        if "deliver" in self.settings.node.roles:
            self._departures.deliverer.park_orphans()
        if not self.settings.peers:
            say(_LOG, "peers.none", hint="every association will be refused")
        if self._web is not None:
            self._web.start()
        try:
            if "receive" in self.settings.node.roles:
                self._premises.welcome(self._scp)
                self._scp.start(self._premises.listeners)
        except OSError as error:
            place = f"{self.settings.node.bind}:{self.settings.node.port}"
            raise PortTaken(f"cannot listen on {place}: {error.strerror}") from error
        self._dispatch.start()
        say(_LOG, "node.started", ae_title=self.settings.node.ae_title, resumed=resumed)

    def _recover(self) -> int:
        """Take up what an earlier run held; a shared ledger has others who may hold it still."""
        now = self._clock.now()
        self._retention.recover()
        resumed = self._ledger.recover(now)
        self._departures.recover(now)
        self._questions.recover(now)
        return resumed

    def dead(self) -> tuple[str, ...]:
        """Return the names of the threads that were started and have died."""
        return self._dispatch.dead()

    def warm_up(self) -> None:
        """Start now what would otherwise start with the first study."""
        if "draft" in self.settings.node.roles and self._models is not None:
            self._renderer.warm_up()
            self._models.warm_up()
        self.observation.warmed_up()

    def open_monitor(self) -> None:
        """Serve metrics, health and readiness from now on: a model takes its time to load.

        Raises
        ------
        MonitorPortTaken
            The port cannot be bound.
        """
        self.observation.start()

    def alerts(self) -> tuple[Alert, ...]:
        """Return the active alerts, the oldest first."""
        return self.observation.alerts()

    def reload(self) -> bool:
        """Read certificates and keys again; tell whether they are in use now."""
        return self._tls.reload()

    def configuration_state(self) -> ConfigurationState:
        """Return which configuration is in force, and what was wrong with a newer one."""
        return self._premises.configuration

    def note_configuration(self, state: ConfigurationState) -> None:
        """Take note of which configuration is in force."""
        self._premises.configuration = state
        write_state(self.settings.node.storage.root, state)

    def renewed(self, settings: Settings) -> Node:
        """Return a node with other settings on the same premises, with the same models.

        Raises
        ------
        NodeError
            The settings ask for something that is not to be had.
        """
        engine, challenger = self._drafters
        return Node(
            settings,
            engine,
            challenger=challenger,
            premises=self._premises,
            meters=self._meters,
        )

    def pause(self) -> bool:
        """Let the steps under way end and begin no other; tell whether all ended in time.

        Images come in all the while: they need nobody who works.
        """
        if self._web is not None:
            self._web.stop()
        self.observation.stop()
        ended = self._dispatch.stop(_STOP_TIMEOUT_S)
        self._renderer.stop()
        return ended

    def make_way(self) -> None:
        """Let nobody else in, and see out who is here: another node listens by now."""
        self._scp.retire()
        self._premises.see_out(self._scp, self.settings.node.idle_timeout_s)

    def release_places(self) -> None:
        """Listen nowhere but where these settings say."""
        node = self.settings.node
        web = [(node.web.bind, node.web.port)] if node.web.enabled else []
        self._premises.listeners.keep_only([(node.bind, node.port), *web])

    def stop(self) -> None:
        """Stop listening, let the steps under way end, and give the storage back."""
        self._premises.listeners.keep_only(())
        self._premises.dismiss(self._scp)
        ended = self.pause()
        if self._auditor is not None:
            self._auditor.stop()
        self._premises.close()
        say(_LOG, "node.stopped", unfinished=not ended)
