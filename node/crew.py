"""Those who draft and answer, put together: workers with a pipeline, leases, and the answerer."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Engine

from node.answering import Answerer, Films
from node.clock import Clock
from node.config import Settings
from node.confined import ConfinedRenderer
from node.destinations import sent_to
from node.leases import Leases
from node.ledger import Ledger
from node.meters import Meters
from node.models import Models
from node.pipeline import Pipeline
from node.previous_reports import PreviousReports
from node.priors import Priors, PriorShelf
from node.questions import Questions
from node.reviews import Reviews
from node.scu import Scu
from node.spool import Spool
from node.surroundings import Surroundings
from node.worker import Worker


@dataclass(frozen=True)
class Bench:
    """What they work on."""

    settings: Settings
    name: str
    """Of the process; leases are held under it."""
    database: Engine
    spool: Spool
    renderer: ConfinedRenderer
    scu: Scu
    clock: Clock
    meters: Meters


class Crew:
    """The workers of a node, and who answers questions."""

    def __init__(self, bench: Bench, models: Models) -> None:
        self._bench = bench
        ledger, reviews = Ledger(bench.database), Reviews(bench.database)
        work = bench.settings.node.work
        self.leases = Leases(work, ledger, bench.clock)
        pipeline = self._pipeline(models, reviews)
        self.workers = [
            Worker(
                f"worker-{number}.{bench.name}",
                ledger,
                pipeline,
                self.leases,
                bench.clock,
                work,
                bench.settings.outputs.outbox,
                bench.meters,
            )
            for number in range(work.num_workers)
        ]
        self.answerer = Answerer(
            models,
            Films(reviews, ledger, bench.spool, bench.renderer),
            reviews,
            Questions(bench.database),
            bench.clock,
            work,
            carries=bench.settings.outputs.report.answers,
            meters=bench.meters,
        )

    def _pipeline(self, models: Models, reviews: Reviews) -> Pipeline:
        bench = self._bench
        return Pipeline(
            models,
            bench.renderer,
            bench.settings.outputs,
            bench.spool,
            bench.clock,
            self._priors(),
            sent_to(bench.settings),
            reviews,
            Surroundings(
                bench.renderer,
                bench.settings.node.inputs,
                PreviousReports(bench.database, bench.spool),
            ),
        )

    def _priors(self) -> Priors | None:
        """Return what looks for earlier films, where a peer is to be asked for them."""
        bench = self._bench
        node, peers = bench.settings.node, bench.settings.peers
        asked = {name: peer for name, peer in peers.items() if peer.priors}
        if not (asked or node.priors_web.url) or not node.study.priors_budget_s:
            return None
        return Priors(asked, node, bench.scu, PriorShelf(bench.spool, bench.database))
