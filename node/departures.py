"""All that calls a destination, put together: deliveries, commitments asked for and given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy.engine import Engine

from node.clock import Clock
from node.commitments import Commitments
from node.committer import Committer
from node.config import Settings
from node.custodian import Custodian
from node.custody import Custody
from node.delivery import Deliverer
from node.destinations import carriers_of, quiet_until, reached
from node.dispatch import Step
from node.fallback import Fallback
from node.meters import NO_METERS, Meters
from node.outbox import Outbox
from node.scu import Scu
from node.spool import Spool


def queues_of(settings: Settings) -> tuple[str, ...]:
    """Return the names of the queues of `Departures.steps`."""
    peers = settings.peers.items()
    return (
        *(f"deliver-{name}" for name in reached(settings)),
        *(f"commit-{name}" for name, peer in peers if peer.commitment),
        *(f"report-{name}" for name, peer in peers if "commitment" in peer.allow),
    )


class Departures:
    """The ways out of the node.

    Parameters
    ----------
    kick
        Called after something changed the ledger: there may be more to do.
    meters
        Count what comes of attempts.
    """

    def __init__(
        self,
        settings: Settings,
        scu: Scu,
        database: Engine,
        spool: Spool,
        clock: Clock,
        kick: Callable[[], None],
        meters: Meters = NO_METERS,
    ) -> None:
        self._settings = settings
        peers, outputs = settings.peers, settings.outputs
        committing = [name for name, peer in peers.items() if peer.commitment]
        self._outbox = Outbox(database, committing)
        self._kick = kick
        self.deliverer = Deliverer(
            carriers_of(settings, scu),
            outputs.outbox,
            self._outbox,
            Fallback(database, spool),
            spool,
            clock,
            partial(quiet_until, settings),
            meters,
        )
        commitments = Commitments(
            database,
            max_resends=outputs.commitment.max_resends,
            give_up_after_s=outputs.outbox.give_up_after_s,
        )
        self.committer = Committer(peers, outputs, scu, commitments, clock, kick)
        self._custody = Custody(database, spool)
        self.custodian = Custodian(peers, outputs.outbox, scu, self._custody, clock)

    def steps(self) -> dict[str, Step]:
        """Return the steps that bring something to a destination: one of a kind at a time."""
        verbs: dict[str, Callable[[str], bool]] = {
            "deliver": self._deliver,
            "commit": self.committer.step,
            "report": self.custodian.step,
        }
        named = (queue.split("-", 1) for queue in queues_of(self._settings))
        return {f"{verb}-{name}": partial(verbs[verb], name) for verb, name in named}

    def _deliver(self, destination: str) -> bool:
        did = self.deliverer.deliver_due(destination)
        if did:
            self._kick()
        return did

    def recover(self, now: float) -> None:
        """Take up what an earlier run held."""
        self._outbox.recover(now, self._settings.outputs.outbox)
        self.committer.recover(now)
        peers = self._settings.peers.items()
        self._custody.recover(now, [name for name, peer in peers if "commitment" in peer.allow])
