"""What a peer may ask beside C-ECHO and C-STORE: DIMSE-N operations on a SOP class.

The listener knows requests and answers only; what they mean is told by the service that is
offered. An answer goes out after the service has returned, so a service that answers SUCCESS has
what it took on disk and in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset

from node.config import PeerRight
from node.peers import Peer


class Operation(StrEnum):
    """The DIMSE-N services that a peer may invoke on us (PS3.7 section 10.1)."""

    EVENT_REPORT = "N-EVENT-REPORT"
    ACTION = "N-ACTION"
    CREATE = "N-CREATE"
    SET = "N-SET"


@dataclass(frozen=True)
class Request:
    """One operation that a peer asks for, its data set decoded."""

    peer: Peer
    operation: Operation
    sop_class_uid: str
    sop_instance_uid: str
    """Empty in an N-CREATE that leaves the choice to us."""
    type_id: int | None
    """Event Type ID or Action Type ID, where the operation has one."""
    ds: Dataset


@dataclass(frozen=True)
class Answer:
    """The response: a status of PS3.7 annex C and, where it is no success, why."""

    status: int
    comment: str = ""
    sop_instance_uid: str = ""
    """The instance that an N-CREATE made, where the request named none."""


@dataclass(frozen=True)
class Service:
    """A SOP class on offer to peers that hold a right to it."""

    sop_class_uid: str
    right: PeerRight
    operations: frozenset[Operation]
    serve: Callable[[Request], Answer]
