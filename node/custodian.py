"""Committing to what peers sent us, as a storage commitment SCP (PS3.4 annex J).

The request is kept and answered at once; the report is made from what is really held and brought
over a new association, until the peer takes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pydicom.uid import UID

from node import statuses
from node.clock import Clock
from node.commitment import (
    REQUEST_ACTION,
    SOP_CLASS,
    SOP_INSTANCE,
    CommitmentInvalid,
    Report,
    report_to_ds,
    request_from_ds,
)
from node.config import PeerSettings
from node.config_outputs import OutboxSettings
from node.custody import MAX_OPEN, Asked, Custody
from node.errors import LedgerError, PeerError
from node.logs import get_logger, say
from node.outbox import backoff_s
from node.redact import key
from node.scu import Scu
from node.services import Answer, Request

_LOG = get_logger("custodian")
_ANSWER_FIRST_S = 0.2
"""The report waits for the response to the request to be out."""

_COMMENTS = {
    statuses.DUPLICATE_TRANSACTION: "other objects were asked for under this transaction UID",
    statuses.RESOURCE_LIMITATION: f"{MAX_OPEN} requests wait for their report already",
}


class Custodian:
    """Takes requests for commitment, and brings the reports.

    Parameters
    ----------
    peers
        The peers by name.
    rule
        Back-off and deadline of a report that cannot be brought.
    """

    def __init__(
        self,
        peers: Mapping[str, PeerSettings],
        rule: OutboxSettings,
        scu: Scu,
        custody: Custody,
        clock: Clock,
    ) -> None:
        self._peers = peers
        self._rule = rule
        self._scu = scu
        self._custody = custody
        self._clock = clock

    def on_action(self, request: Request) -> Answer:
        """Take a request; success means that a report will follow (PS3.4 section J.3.2)."""
        if request.type_id != REQUEST_ACTION:
            return Answer(statuses.NO_SUCH_ACTION, "there is no such action type")
        if request.sop_instance_uid != SOP_INSTANCE:
            return Answer(statuses.NO_SUCH_INSTANCE, "commitment has one well-known instance")
        now = self._clock.now()
        try:
            transaction = request_from_ds(request.ds)
            peer = request.peer.name
            status = self._custody.take(peer, transaction, now, now + _ANSWER_FIRST_S)
        except CommitmentInvalid as error:
            return Answer(statuses.INVALID_ARGUMENT, str(error))
        except LedgerError as error:
            return Answer(statuses.PROCESSING_FAILURE, str(error))
        return Answer(status, _COMMENTS.get(status, ""))

    def step(self, peer: str) -> bool:
        """Report to one peer on what is due; tell whether there was anything."""
        due = self._custody.due(peer, self._clock.now())
        for asked in due:
            self._answer(asked)
        return bool(due)

    def _answer(self, asked: Asked) -> None:
        """Bring one report, or see to it that it is tried again."""
        report = self._custody.report_on(asked.transaction)
        try:
            self._bring(self._peers[asked.peer], report)
        except PeerError as error:
            self._fail(asked, str(error))
            return
        self._custody.end(asked, self._clock.now())
        say(
            _LOG,
            "custody.reported",
            level=logging.WARNING if report.failed else logging.INFO,
            peer=asked.peer,
            transaction=key(report.transaction_uid),
            held=len(report.held),
            failed=len(report.failed),
        )

    def _bring(self, peer: PeerSettings, report: Report) -> None:
        """Send a report over a new association, in the role of the SCP."""
        with self._scu.association(peer, [SOP_CLASS], is_scp=True) as assoc:
            try:
                answer, _ = assoc.send_n_event_report(
                    report_to_ds(report), report.event_type, UID(SOP_CLASS), UID(SOP_INSTANCE)
                )
            except (RuntimeError, ValueError) as error:
                raise PeerError("the association was lost") from error
        if "Status" not in answer:
            raise PeerError("no answer")
        if answer.Status != statuses.SUCCESS:
            raise PeerError(f"the report was refused: status 0x{answer.Status:04X}")

    def _fail(self, asked: Asked, reason: str) -> None:
        """Try a report again later, until the deadline."""
        now = self._clock.now()
        next_at = now + backoff_s(asked.attempts + 1, self._rule)
        gives_up = next_at > asked.asked_at + self._rule.give_up_after_s
        if gives_up:
            self._custody.end(asked, now, reason)
        else:
            self._custody.postpone(asked, next_at, reason)
        say(
            _LOG,
            "custody.given_up" if gives_up else "custody.not_reported",
            level=logging.WARNING,
            peer=asked.peer,
            transaction=key(asked.transaction.uid),
            attempt=asked.attempts + 1,
            reason=reason,
        )
