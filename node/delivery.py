"""Delivery: what is due at a destination is sent, and every answer has one consequence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.clock import Clock
from node.config import PeerSettings
from node.config_outputs import OutboxSettings
from node.errors import PeerError
from node.logs import get_logger, say
from node.outbox import Outbox, backoff_s
from node.records import Delivery, DeliveryStatus, Verdict
from node.redact import key
from node.sc import missing_marks
from node.scu import Scu
from node.spool import Spool

_LOG = get_logger("delivery")


@dataclass(frozen=True)
class _Rule:
    """What a range of C-STORE response statuses means (PS3.4 table B.2-1, PS3.7 annex C)."""

    first: int
    last: int
    status: DeliveryStatus
    text: str


STATUS_RULES = (
    _Rule(0x0000, 0x0000, DeliveryStatus.SENT, ""),
    _Rule(0x0001, 0x0001, DeliveryStatus.SENT, "warning"),
    _Rule(0x0107, 0x0107, DeliveryStatus.SENT, "warning: attribute list"),
    _Rule(0x0116, 0x0116, DeliveryStatus.SENT, "warning: attribute value out of range"),
    _Rule(0xB000, 0xBFFF, DeliveryStatus.SENT, "warning"),
    _Rule(0x0110, 0x0110, DeliveryStatus.PENDING, "processing failure"),
    _Rule(0xA700, 0xA7FF, DeliveryStatus.PENDING, "out of resources"),
    _Rule(0xA900, 0xA9FF, DeliveryStatus.PARKED, "data set does not match its SOP class"),
    _Rule(0xC000, 0xCFFF, DeliveryStatus.PARKED, "the peer cannot understand it"),
)


def verdict_on(status: int | str, item: Delivery, now: float, rule: OutboxSettings) -> Verdict:
    """Return the consequence of one answer: a status, or why there is none."""
    if isinstance(status, str):
        return try_again(status, item, now, rule)
    for row in STATUS_RULES:
        if row.first <= status <= row.last:
            break
    else:
        row = _Rule(status, status, DeliveryStatus.PARKED, "refused")
    reason = f"0x{status:04X} {row.text}" if row.text else ""
    if row.status is DeliveryStatus.PENDING:
        return try_again(reason, item, now, rule, status)
    return Verdict(row.status, reason, status)


def try_again(
    reason: str, item: Delivery, now: float, rule: OutboxSettings, status: int | None = None
) -> Verdict:
    """Return the verdict on an attempt that may be repeated, until the deadline."""
    next_at = now + backoff_s(item.attempts + 1, rule)
    if next_at > item.deadline_at:
        return Verdict(
            DeliveryStatus.PARKED, f"given up after {rule.give_up_after_h:g} h: {reason}", status
        )
    return Verdict(DeliveryStatus.PENDING, reason, status, next_at)


class Deliverer:
    """Sends what the outbox calls due.

    Parameters
    ----------
    peers
        The destinations by name.
    rule
        Back-off and deadline.
    """

    def __init__(
        self,
        peers: Mapping[str, PeerSettings],
        rule: OutboxSettings,
        scu: Scu,
        outbox: Outbox,
        spool: Spool,
        clock: Clock,
    ) -> None:
        self._peers = peers
        self._rule = rule
        self._scu = scu
        self._outbox = outbox
        self._spool = spool
        self._clock = clock

    def deliver_due(self, destination: str) -> bool:
        """Send everything that is due at a destination; tell whether there was anything."""
        due = self._outbox.due(destination, self._clock.now())
        loaded = [(item, ds) for item in due if (ds := self._load(item)) is not None]
        if loaded:
            self._send(self._peers[destination], loaded)
        return bool(due)

    def park_orphans(self) -> None:
        """Park what is due at peers to which the configuration sends nothing any more."""
        for item in self._outbox.pending_elsewhere([n for n, p in self._peers.items() if p.send]):
            is_known = item.destination in self._peers
            reason = "the peer has no `send`" if is_known else "no such peer"
            self._settle(item, Verdict(DeliveryStatus.PARKED, f"{reason} in the configuration"))

    def _load(self, item: Delivery) -> Dataset | None:
        """Read an object; one that may not leave is parked instead."""
        try:
            ds = dcmread(self._spool.path(item.path))
        except (OSError, InvalidDicomError):
            self._settle(item, Verdict(DeliveryStatus.PARKED, "its file cannot be read"))
            return None
        missing = missing_marks(ds) if ds.Modality != "SR" else ()
        if missing:
            reason = f"send guard: synthetic marks missing: {', '.join(missing)}"
            self._settle(item, Verdict(DeliveryStatus.PARKED, reason))
            return None
        return ds

    def _send(self, peer: PeerSettings, loaded: Sequence[tuple[Delivery, Dataset]]) -> None:
        """Send objects over one association; those left when it fails are tried again later."""
        waiting = [item for item, _ in loaded]
        classes = [str(ds.SOPClassUID) for _, ds in loaded]
        try:
            for status in self._scu.store(peer, self._outgoing(loaded), classes):
                item = waiting.pop(0)
                self._settle(item, verdict_on(status, item, self._clock.now(), self._rule))
        except PeerError as error:
            for item in waiting:
                self._settle(item, try_again(str(error), item, self._clock.now(), self._rule))

    def _outgoing(self, loaded: Sequence[tuple[Delivery, Dataset]]) -> Iterator[Dataset]:
        """Note each object as it goes on its way."""
        for item, ds in loaded:
            self._outbox.begin(item, self._clock.now())
            yield ds

    def _settle(self, item: Delivery, verdict: Verdict) -> None:
        """Record and log what an attempt came to."""
        now = self._clock.now()
        self._outbox.begin(item, now)
        self._outbox.settle(item, verdict, now)
        sent = verdict.status is DeliveryStatus.SENT
        say(
            _LOG,
            f"delivery.{verdict.status}",
            level=logging.INFO if sent and not verdict.reason else logging.WARNING,
            study=key(item.study_uid),
            generation=item.generation,
            kind=item.kind,
            destination=item.destination,
            attempt=item.attempts + 1,
            reason=verdict.reason or None,
            retry_in_s=None if verdict.next_at is None else round(verdict.next_at - now, 1),
        )
