"""Storage commitment on the wire: what its requests and reports carry (PS3.4 annex J).

Pure: data sets in, values out, and back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence

from node import statuses
from node.errors import NodeError

SOP_CLASS = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known instance."""

REQUEST_ACTION = 1
ALL_COMMITTED = 1
FAILURES_EXIST = 2
"""Action type and event types (PS3.4 tables J.3-1 and J.3-2)."""

MAX_REFERENCES = 10_000
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")

REASONS: dict[int, str] = {
    statuses.PROCESSING_FAILURE: "processing failure",
    statuses.NO_SUCH_INSTANCE: "no such object instance",
    statuses.CLASS_INSTANCE_CONFLICT: "class-instance conflict",
    statuses.CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
    statuses.DUPLICATE_TRANSACTION: "duplicate transaction UID",
    statuses.RESOURCE_LIMITATION: "resource limitation",
}
"""Why an object is not committed (PS3.3 section C.14.1.1)."""


class CommitmentInvalid(NodeError):
    """The commitment message cannot be understood."""


@dataclass(frozen=True)
class Reference:
    """An object by its class and instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Transaction:
    """A request: objects whose safekeeping is asked for, under one transaction UID."""

    uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Report:
    """The answer to a transaction: what is held, and why the rest is not."""

    transaction_uid: str
    held: tuple[Reference, ...] = ()
    failed: Mapping[Reference, int] = field(default_factory=dict)

    @property
    def event_type(self) -> int:
        """The Event Type ID under which it is sent."""
        return FAILURES_EXIST if self.failed else ALL_COMMITTED


def reason_text(reason: int) -> str:
    """Return a failure reason in words, with its code."""
    return f"{REASONS.get(reason, 'unknown reason')} (0x{reason:04X})"


def request_to_ds(transaction: Transaction) -> Dataset:
    """Return the action information of a request (PS3.4 table J.3-1)."""
    ds = Dataset()
    ds.TransactionUID = transaction.uid
    ds.ReferencedSOPSequence = [_item(reference) for reference in transaction.references]
    return ds


def request_from_ds(ds: Dataset) -> Transaction:
    """Read the action information of a request.

    Raises
    ------
    CommitmentInvalid
        It lacks its transaction UID or its references, or they are not UIDs.
    """
    references = _references(ds, "ReferencedSOPSequence")
    if not references:
        raise CommitmentInvalid("the request names no object")
    return Transaction(_uid(ds, "TransactionUID"), references)


def report_to_ds(report: Report) -> Dataset:
    """Return the event information of a report (PS3.4 table J.3-2)."""
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    if report.held:
        ds.ReferencedSOPSequence = [_item(reference) for reference in report.held]
    if report.failed:
        ds.FailedSOPSequence = []
        for reference, reason in report.failed.items():
            item = _item(reference)
            item.FailureReason = reason
            ds.FailedSOPSequence.append(item)
    return ds


def report_from_ds(ds: Dataset) -> Report:
    """Read the event information of a report.

    Raises
    ------
    CommitmentInvalid
        It lacks its transaction UID, or what it lists are not UIDs.
    """
    failed = {}
    for item in _items(ds, "FailedSOPSequence"):
        reason = item.get("FailureReason")
        is_number = isinstance(reason, int)
        failed[_reference(item)] = int(reason) if is_number else statuses.PROCESSING_FAILURE
    held = _references(ds, "ReferencedSOPSequence")
    return Report(_uid(ds, "TransactionUID"), held, failed)


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def _items(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence; none where it is missing or something else."""
    items = ds.get(keyword)
    if not isinstance(items, ItemSequence):
        return ()
    if len(items) > MAX_REFERENCES:
        raise CommitmentInvalid(f"more than {MAX_REFERENCES} objects in one message")
    return items


def _references(ds: Dataset, keyword: str) -> tuple[Reference, ...]:
    return tuple(dict.fromkeys(_reference(item) for item in _items(ds, keyword)))


def _reference(item: Dataset) -> Reference:
    return Reference(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))


def _uid(ds: Dataset, keyword: str) -> str:
    """Return a UID element that is one (PS3.5 section 9.1)."""
    text = str(ds.get(keyword) or "")
    if not _UID.fullmatch(text):
        raise CommitmentInvalid(f"{keyword} is missing or no UID")
    return text
