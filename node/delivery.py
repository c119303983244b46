"""Delivery: what is due at a destination is sent, and every answer has one consequence."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from io import BytesIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from node.carrier import Carrier, Parcel, Reply
from node.clock import Clock, as_datetime
from node.config_outputs import OutboxSettings
from node.errors import PeerError
from node.fallback import Fallback
from node.logs import get_logger, say
from node.meters import DELIVERY_ATTEMPTS, NO_METERS, Meters
from node.outbox import Outbox, backoff_s
from node.records import Delivery, DeliveryStatus, Verdict
from node.redact import key
from node.send_guard import missing_in
from node.spool import Spool

_LOG = get_logger("delivery")


def verdict_on(reply: Reply, item: Delivery, now: float, rule: OutboxSettings) -> Verdict:
    """Return the consequence of one answer."""
    if reply.status is DeliveryStatus.PENDING:
        return try_again(reply.reason, item, now, rule, reply.code)
    return Verdict(reply.status, reply.reason, reply.code)


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


QuietUntil = Callable[[str, datetime], datetime | None]


class Deliverer:
    """Sends what the outbox calls due.

    Parameters
    ----------
    carriers
        The ways to the destinations, by name.
    rule
        Back-off and deadline.
    quiet_until
        Tells of a destination when its quiet hours end, at a local time; None where there are none.
    meters
        Count what comes of attempts.
    """

    def __init__(
        self,
        carriers: Mapping[str, Carrier],
        rule: OutboxSettings,
        outbox: Outbox,
        fallback: Fallback,
        spool: Spool,
        clock: Clock,
        quiet_until: QuietUntil,
        meters: Meters = NO_METERS,
    ) -> None:
        self._carriers = carriers
        self._meters = meters
        self._rule = rule
        self._outbox = outbox
        self._fallback = fallback
        self._spool = spool
        self._clock = clock
        self._quiet_until = quiet_until

    def deliver_due(self, destination: str) -> bool:
        """Send everything that is due at a destination; tell whether there was anything.

        In its quiet hours only what is an emergency is sent.
        """
        now = self._clock.now()
        until = self._quiet_until(destination, as_datetime(now).astimezone())
        if until is not None:
            self._hold(destination, until)
        due = self._outbox.due(destination, now, stat_only=until is not None)
        loaded = [parcel for item in due if (parcel := self._load(item)) is not None]
        fit = [parcel for parcel in loaded if not self._replaced(parcel)]
        if fit:
            self._send(self._carriers[destination], fit)
        return bool(due)

    def _hold(self, destination: str, until: datetime) -> None:
        """Let what is no emergency wait for the end of quiet hours, with all its time after it."""
        deadline_at = until.timestamp() + self._rule.give_up_after_s
        self._outbox.hold(destination, f"waits: quiet hours until {until:%H:%M}", deadline_at)

    def _replaced(self, parcel: Parcel) -> bool:
        """Replace a report that its destination is known not to take; tell whether it was one."""
        now = self._clock.now()
        if parcel.ds is None or not self._fallback.is_due(parcel.item, now):
            return False
        self._fallback.replace(parcel.item, parcel.ds, now)
        return True

    def park_orphans(self) -> None:
        """Park what is due where the configuration sends nothing any more."""
        for item in self._outbox.pending_elsewhere(list(self._carriers)):
            reason = f"nothing is sent to {item.destination} in the configuration"
            self._settle(item, Verdict(DeliveryStatus.PARKED, reason))

    def _load(self, item: Delivery) -> Parcel | None:
        """Read what is to be sent; what may not leave is parked instead."""
        try:
            content = self._spool.path(item.path).read_bytes()
            if hashlib.sha256(content).hexdigest() != item.sha256:
                self._settle(item, Verdict(DeliveryStatus.PARKED, "its file is not as it was made"))
                return None
            ds = dcmread(BytesIO(content)) if item.sop_class_uid else None
        except (OSError, InvalidDicomError):
            self._settle(item, Verdict(DeliveryStatus.PARKED, "its file cannot be read"))
            return None
        missing = missing_in(item.kind, ds) if ds is not None else ()
        if missing:
            reason = f"send guard: marks missing: {', '.join(missing)}"
            self._settle(item, Verdict(DeliveryStatus.PARKED, reason))
            return None
        return Parcel(item, content, ds)

    def _send(self, carrier: Carrier, loaded: Sequence[Parcel]) -> None:
        """Send over one connection; what is left when it fails is tried again later."""
        waiting = list(loaded)
        for parcel in waiting:
            self._outbox.begin(parcel.item, self._clock.now())
        try:
            for reply in carrier.carry(loaded):
                self._take(waiting.pop(0), reply)
        except PeerError as error:
            for item in (parcel.item for parcel in waiting):
                self._settle(item, try_again(str(error), item, self._clock.now(), self._rule))

    def _take(self, parcel: Parcel, reply: Reply) -> None:
        """Do what an answer asks for."""
        item, now = parcel.item, self._clock.now()
        if reply.wants_basic_text and parcel.ds is not None:
            self._fallback.learn(item.destination, now)
            self._fallback.replace(item, parcel.ds, now)
        else:
            self._settle(item, verdict_on(reply, item, now, self._rule))

    def _settle(self, item: Delivery, verdict: Verdict) -> None:
        """Record and log what an attempt came to."""
        now = self._clock.now()
        self._outbox.begin(item, now)
        self._outbox.settle(item, verdict, now)
        self._meters.count(DELIVERY_ATTEMPTS, item.destination, verdict.status)
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
