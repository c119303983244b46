"""Who was turned away, in the log and for `cxr-node status`: all of it seen, none of it a flood.

Who is not let in may knock a thousand times a second; the disk must not pay for it. An address
gets so many lines a second, and the next line that it gets says how many were left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from node.clock import Clock
from node.errors import LedgerError
from node.journal import Journal
from node.logs import get_logger, say
from node.meters import ASSOCIATIONS_ABORTED, ASSOCIATIONS_REFUSED, NO_METERS, Meters
from node.peers import PeerBook
from node.records import Rejection
from node.redact import stranger, without_title

_LOG = get_logger("scp")
_EVENTS = {
    "association": "association.refused",
    "instance": "instance.refused",
    "operation": "operation.refused",
    "tls": "tls.handshake_refused",
}
_PER_S, _BURST = 5.0, 50.0
_MAX_ADDRESSES = 1_024


@dataclass
class _Allowance:
    """How many lines an address may still get, and how many it was denied."""

    left: float = _BURST
    at: float = 0.0
    num_left_out: int = 0

    def spend(self, now: float) -> bool:
        """Take one line, if there is one."""
        self.left = min(_BURST, self.left + (now - self.at) * _PER_S)
        self.at = now
        if self.left < 1:
            self.num_left_out += 1
            return False
        self.left -= 1
        return True


class Refusals:
    """Notes what was turned away.

    Parameters
    ----------
    peers
        Titles that no peer has appear in the log by their key alone.
    journal
        Where the latest thousand are kept.
    clock
        The time of a refusal.
    meters
        Count what broke before or after it was an association.
    """

    def __init__(
        self, peers: PeerBook, journal: Journal, clock: Clock, meters: Meters = NO_METERS
    ) -> None:
        self._peers = peers
        self._journal = journal
        self._clock = clock
        self._meters = meters
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, rejection: Rejection, status: int | None = None) -> None:
        """Write a rejection to the log and keep it, unless its address has had its share."""
        if rejection.kind == "tls":
            self._meters.count(ASSOCIATIONS_REFUSED, "tls")
        elif rejection.kind == "abort":
            self._meters.count(ASSOCIATIONS_ABORTED)
        num_left_out = self._left_out(rejection.address)
        if num_left_out is None:
            return
        if num_left_out:
            reason = f"{rejection.reason} ({num_left_out} refusals before it were not written)"
            rejection = replace(rejection, reason=reason)
        self._say(rejection, status)
        try:
            self._journal.note_rejection(rejection, self._clock.now())
        except LedgerError as error:
            say(_LOG, "ledger.refused", level=logging.ERROR, reason=str(error))

    def _left_out(self, address: str) -> int | None:
        """Return how many refusals went unwritten before this one; None if it does as well."""
        with self._lock:
            allowance = self._allowances.setdefault(address, _Allowance(at=time.monotonic()))
            self._allowances.move_to_end(address)
            if len(self._allowances) > _MAX_ADDRESSES:
                self._allowances.popitem(last=False)
            if not allowance.spend(time.monotonic()):
                return None
            num_left_out, allowance.num_left_out = allowance.num_left_out, 0
        return num_left_out

    def _say(self, rejection: Rejection, status: int | None) -> None:
        calling, hint = rejection.calling_aet, rejection.hint
        if not self._peers.knows(calling):
            calling, hint = stranger(calling), without_title(hint, calling)
        say(
            _LOG,
            _EVENTS.get(rejection.kind, "association.aborted"),
            level=logging.WARNING,
            calling=calling or None,
            address=rejection.address,
            status=None if status is None else f"0x{status:04X}",
            reason=rejection.reason,
            hint=hint or None,
        )
