"""Asking destinations to commit to what they were sent, as a storage commitment SCU (PS3.4 J).

The report comes over the association of the request or over a new one, minutes or hours later; both
end in `Committer.on_report`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from node import statuses
from node.clock import Clock
from node.commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    REQUEST_ACTION,
    SOP_CLASS,
    SOP_INSTANCE,
    CommitmentInvalid,
    Reference,
    Transaction,
    report_from_ds,
    request_to_ds,
)
from node.commitments import Awaited, Commitments, Outcome
from node.config import PeerSettings
from node.config_outputs import OutputSettings
from node.errors import LedgerError, PeerError
from node.logs import get_logger, say
from node.outbox import backoff_s
from node.records import DeliveryStatus
from node.redact import key
from node.scu import Scu
from node.services import Answer, Request

_LOG = get_logger("commitment")
_LOOK_S = 0.05

_EVENTS = {
    DeliveryStatus.COMMITTED: "delivery.committed",
    DeliveryStatus.SENT: "commitment.asked_again",
    DeliveryStatus.PENDING: "delivery.sent_again",
    DeliveryStatus.PARKED: "delivery.parked",
}


class Committer:
    """Asks for commitments, and takes the reports.

    Parameters
    ----------
    peers
        The peers by name; those with `commitment: true` are asked.
    settings
        The `outputs:` section.
    on_settled
        Called after a report changed the ledger: there may be something to send again.
    """

    def __init__(
        self,
        peers: Mapping[str, PeerSettings],
        settings: OutputSettings,
        scu: Scu,
        commitments: Commitments,
        clock: Clock,
        on_settled: Callable[[], None],
    ) -> None:
        self._peers = peers
        self._rule = settings.commitment
        self._outbox = settings.outbox
        self._scu = scu
        self._commitments = commitments
        self._clock = clock
        self._on_settled = on_settled

    def step(self, destination: str) -> bool:
        """Ask one destination for what is due; tell whether there was anything."""
        now = self._clock.now()
        due = self._commitments.due(destination, now)
        latest = now - self._outbox.give_up_after_s
        late = [item for item in due if item.sent_at < latest]
        if late:
            self._tell(self._commitments.give_up(late, now))
        waiting = [item for item in due if item.sent_at >= latest]
        if waiting:
            self._ask(destination, waiting)
        return bool(due)

    def _ask(self, destination: str, items: Sequence[Awaited]) -> None:
        """Request commitment to some objects; what does not get through is due again later."""
        now = self._clock.now()
        transaction = self._commitments.begin(
            destination, items, str(generate_uid(None)), now, now + self._rule.report_timeout_s
        )
        reason = ""
        try:
            self._call(self._peers[destination], transaction)
        except PeerError as error:
            reason = str(error)
            wait_s = backoff_s(max(item.attempts for item in items) + 1, self._outbox)
            self._commitments.postpone(items, self._clock.now() + wait_s)
        say(
            _LOG,
            "commitment.not_asked" if reason else "commitment.asked",
            level=logging.WARNING if reason else logging.INFO,
            destination=destination,
            objects=len(items),
            reason=reason or None,
        )

    def _call(self, peer: PeerSettings, transaction: Transaction) -> None:
        """Send the request, and wait a little for a report over the same association."""
        reported = threading.Event()

        def on_n_event_report(event: Event) -> tuple[int, None]:
            answer = self.on_report(peer, event.event_type, event.event_information)
            reported.set()
            return answer.status, None

        handlers = [(evt.EVT_N_EVENT_REPORT, on_n_event_report)]
        with self._scu.association(peer, [SOP_CLASS], handlers=handlers) as assoc:
            status = _send_request(assoc, transaction)
            if status != statuses.SUCCESS:
                answer = "no answer" if status is None else f"status 0x{status:04X}"
                raise PeerError(f"storage commitment was not taken on: {answer}")
            _wait(reported, assoc, self._rule.wait_s)

    def try_out(self, destination: str, reference: Reference, patience_s: float) -> float | None:
        """Ask a peer to commit to an object that is none of ours; return the seconds that it took.

        The report may come over an association of its own: a node that listens takes it.

        Returns
        -------
        float or None
            None where no report came in time.

        Raises
        ------
        PeerError
            The request was not taken on.
        """
        uid, started = str(generate_uid(None)), time.monotonic()
        self._commitments.try_out(destination, uid, self._clock.now())
        self._call(self._peers[destination], Transaction(uid, (reference,)))
        while not self._commitments.is_reported(uid):
            if time.monotonic() - started > patience_s:
                return None
            time.sleep(_LOOK_S)
        return time.monotonic() - started

    def on_event_report(self, request: Request) -> Answer:
        """Take a report that a peer brings over an association of its own."""
        return self.on_report(request.peer.settings, request.type_id, request.ds)

    def on_report(self, peer: PeerSettings, event_type: int | None, ds: Dataset) -> Answer:
        """Take a report; success means that it is in the ledger (PS3.4 section J.3.3)."""
        if event_type not in (ALL_COMMITTED, FAILURES_EXIST):
            return Answer(statuses.NO_SUCH_EVENT_TYPE, "there is no such event type")
        try:
            report = report_from_ds(ds)
            destination = self._commitments.destination_of(report.transaction_uid)
            asked = self._peers.get(destination or "")
            if destination is None or asked is None or asked.ae_title != peer.ae_title:
                say(_LOG, "commitment.unknown", level=logging.WARNING, peer=peer.ae_title)
                return Answer(statuses.INVALID_ARGUMENT, "you were not asked in this transaction")
            self._tell(self._commitments.record(destination, report, self._clock.now()))
        except CommitmentInvalid as error:
            return Answer(statuses.INVALID_ARGUMENT, str(error))
        except LedgerError as error:
            return Answer(statuses.PROCESSING_FAILURE, str(error))
        self._on_settled()
        return Answer(statuses.SUCCESS)

    def recover(self, now: float) -> None:
        """Take up where an earlier run stopped, with the peers that are still asked."""
        asked = [name for name, peer in self._peers.items() if peer.commitment]
        self._commitments.forget_elsewhere(asked, now)
        self._commitments.recover(now)

    def _tell(self, ends: Iterable[Outcome]) -> None:
        """Log what became of awaited objects."""
        for end in ends:
            is_good = end.status is DeliveryStatus.COMMITTED
            say(
                _LOG,
                _EVENTS[end.status],
                level=logging.INFO if is_good else logging.WARNING,
                study=key(end.awaited.study_uid),
                generation=end.awaited.generation,
                kind=end.awaited.kind,
                destination=end.awaited.destination,
                reason=end.reason or None,
            )


def _send_request(assoc: Association, transaction: Transaction) -> int | None:
    """Send the N-ACTION; return its status, or None where there was no answer."""
    try:
        status, _ = assoc.send_n_action(
            request_to_ds(transaction), REQUEST_ACTION, UID(SOP_CLASS), UID(SOP_INSTANCE)
        )
    except (RuntimeError, ValueError) as error:
        raise PeerError("the association was lost") from error
    return int(status.Status) if "Status" in status else None


def _wait(reported: threading.Event, assoc: Association, seconds: float) -> None:
    """Wait for a report, for as long as there is an association over which it could come."""
    deadline = time.monotonic() + seconds
    while assoc.is_established and time.monotonic() < deadline:
        if reported.wait(_LOOK_S):
            return
