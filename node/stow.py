"""DICOMweb STOW-RS: storing objects at a server over HTTP (PS3.18 section 10.5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from node.carrier import Parcel, Reply
from node.config_outputs import StowSettings
from node.errors import PeerError
from node.http_calls import open_server, reply_to
from node.records import DeliveryStatus
from node.store_statuses import reply_to as reply_to_failure

_JSON: Final = "application/dicom+json"
_SPEAKING: Final = (200, 202, 409)
"""Statuses whose body says of each instance whether it was stored."""
_FAILED, _REFERENCED = "00081198", "00081199"
_INSTANCE, _FAILURE_REASON, _WARNING_REASON = "00081155", "00081197", "00081196"

_PAGE: Final = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
"""A login page or a portal in between answers 200 to anything, and stores nothing."""
_MAX_US: Final = 0xFFFF

DataSet = dict[str, Any]
"""A data set in the DICOM JSON model (PS3.18 annex F)."""


class StowCarrier:
    """Stores objects at a DICOMweb server, one a request over one connection.

    Parameters
    ----------
    settings
        The `outputs.stow` section; its URL is set.
    """

    def __init__(self, settings: StowSettings) -> None:
        self._settings = settings

    def carry(self, parcels: Sequence[Parcel]) -> Iterator[Reply]:
        """Store objects; see `Carrier.carry`."""
        with open_server(self._settings) as server:
            for parcel in parcels:
                body, content_type = multipart(parcel.content)
                answer = server.post("studies", _JSON, content_type, body)
                if answer.status == 200 and _PAGE.match(answer.content):
                    yield Reply(DeliveryStatus.PENDING, "HTTP 200 with a page for people", 200)
                    continue
                data_set = _data_set_in(answer.json())
                yield read_reply(answer.status, data_set, parcel.item.sop_instance_uid)

    def probe(self) -> str:
        """Search for one study, whichever; see `Carrier.probe`."""
        with open_server(self._settings) as server:
            answer = server.get("studies", _JSON, {"limit": "1"})
        if answer.status not in (200, 204):
            hint = "does outputs.stow.url end before /studies, and may this user read there"
            raise PeerError(f"{self._settings.url} answers HTTP {answer.status}", hint=hint)
        return f"{self._settings.url} answers"


def multipart(content: bytes) -> tuple[bytes, str]:
    """Return the body with one object in it, and its media type (PS3.18 section 8.6.1.2)."""
    boundary = f"cxr-{hashlib.sha256(content).hexdigest()[:32]}"
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join((head, content, f"\r\n--{boundary}--\r\n".encode()))
    return body, f'multipart/related; type="application/dicom"; boundary={boundary}'


def read_reply(status: int, body: DataSet | None, sop_instance_uid: str) -> Reply:
    """Return the consequence of an answer.

    A server that took nothing, or a part, says so in Failed SOP Sequence, under 409, 202 and with
    some even under 200 (PS3.18 section 10.5.3). 202 without a word about the object is no proof
    that it is stored: storing it again does no harm.
    """
    if status not in _SPEAKING:
        return reply_to(status)
    failed = _item(body, _FAILED, sop_instance_uid)
    if failed is not None:
        return _of_failure(_number(failed, _FAILURE_REASON), status)
    stored = _item(body, _REFERENCED, sop_instance_uid)
    if stored is not None and status != 409:
        warning = _number(stored, _WARNING_REASON)
        reason = "" if warning is None else f"0x{warning:04X} warning"
        return Reply(DeliveryStatus.SENT, reason, status)
    if status == 202:
        return Reply(DeliveryStatus.PENDING, "HTTP 202 does not name the object", status)
    return reply_to(status)


def _of_failure(reason: int | None, status: int) -> Reply:
    """Return the consequence of a Failure Reason: those of C-STORE (PS3.18 table 10.5.3-2)."""
    if not reason:
        return Reply(DeliveryStatus.PARKED, f"HTTP {status}: not stored, no reason", status)
    answer = reply_to_failure(reason)
    if answer.status is DeliveryStatus.SENT:  # a warning among the failures: it is not stored
        return Reply(DeliveryStatus.PARKED, f"0x{reason:04X} not stored", reason)
    return answer


def _data_set_in(body: object) -> DataSet | None:
    """Return the data set of an answer, None where there is none."""
    first = body[0] if isinstance(body, list) and body else body
    return first if isinstance(first, dict) else None


def _item(body: DataSet | None, tag: str, sop_instance_uid: str) -> DataSet | None:
    """Return the item of a sequence that speaks of an instance."""
    for item in _values(body or {}, tag):
        if isinstance(item, dict) and _values(item, _INSTANCE) == [sop_instance_uid]:
            return item
    return None


def _number(item: DataSet, tag: str) -> int | None:
    """Return a value of VR US; the ledger could not hold whatever else a server may write."""
    values = _values(item, tag)
    is_us = bool(values) and isinstance(values[0], int) and 0 <= values[0] <= _MAX_US
    return values[0] if is_us else None


def _values(item: DataSet, tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
