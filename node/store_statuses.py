"""What the statuses of a storage mean for a delivery, over DIMSE and over DICOMweb alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.carrier import Reply
from node.records import DeliveryStatus


@dataclass(frozen=True)
class _Rule:
    """What a range of C-STORE response statuses means (PS3.4 table B.2-1, PS3.7 annex C)."""

    first: int
    last: int
    status: DeliveryStatus
    text: str


STATUS_RULES: Final = (
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


def reply_to(status: int) -> Reply:
    """Return the consequence of one status; one that no rule knows is a refusal."""
    for row in STATUS_RULES:
        if row.first <= status <= row.last:
            break
    else:
        row = _Rule(status, status, DeliveryStatus.PARKED, "refused")
    reason = f"0x{status:04X} {row.text}" if row.text else ""
    return Reply(row.status, reason, status)
