"""FHIR REST: posting transactions to a server, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from node.carrier import Parcel, Reply
from node.config_outputs import FhirSettings
from node.errors import PeerError
from node.http_calls import Answer, open_server, reply_to
from node.records import DeliveryStatus

_JSON: Final = "application/fhir+json"
_VERSIONS: Final = {"R4": "4.", "R5": "5."}
_MAX_CODES: Final = 5

ISSUE_CODES: Final = frozenset(
    (
        "invalid",
        "structure",
        "required",
        "value",
        "invariant",
        "security",
        "login",
        "unknown",
        "expired",
        "forbidden",
        "suppressed",
        "processing",
        "not-supported",
        "duplicate",
        "multiple-matches",
        "not-found",
        "deleted",
        "too-long",
        "code-invalid",
        "extension",
        "too-costly",
        "business-rule",
        "conflict",
        "limited-filter",
        "transient",
        "lock-error",
        "no-store",
        "exception",
        "timeout",
        "incomplete",
        "throttled",
        "informational",
        "success",
    )
)
"""Why an operation failed (http://hl7.org/fhir/issue-type): all that is kept of an outcome."""


class FhirCarrier:
    """Posts transactions to a FHIR server.

    Parameters
    ----------
    settings
        The `outputs.fhir` section; its URL is set.
    """

    def __init__(self, settings: FhirSettings) -> None:
        self._settings = settings

    def carry(self, parcels: Sequence[Parcel]) -> Iterator[Reply]:
        """Post transactions; see `Carrier.carry`."""
        with open_server(self._settings) as server:
            for parcel in parcels:
                answer = server.post("", _JSON, f"{_JSON}; charset=utf-8", parcel.content)
                yield read_reply(answer.status, _resource_in(answer))

    def probe(self) -> str:
        """Read the capability statement; see `Carrier.probe`."""
        with open_server(self._settings) as server:
            answer = server.get("metadata", _JSON)
        url, wanted = self._settings.url, self._settings.version
        if answer.status != 200:
            hint = "is outputs.fhir.url the base of the server, and may this user read there"
            raise PeerError(f"{url}/metadata answers HTTP {answer.status}", hint=hint)
        if not str(_resource_in(answer).get("fhirVersion", "")).startswith(_VERSIONS[wanted]):
            hint = "set outputs.fhir.version to what the server speaks"
            raise PeerError(f"{url} does not say that it speaks {wanted}", hint=hint)
        return f"{url} speaks {wanted}"


def read_reply(status: int, body: dict[str, Any]) -> Reply:
    """Return the consequence of an answer.

    A transaction is taken whole or not at all; a success that does not say so, entry by entry, is
    not believed. Of an OperationOutcome only the codes are kept: its text may name a patient.
    """
    if status == 200:
        return _of_transaction(body)
    if 200 <= status < 300:
        return Reply(DeliveryStatus.PENDING, f"HTTP {status} is no answer to a transaction", status)
    return reply_to(status, ", ".join(issue_codes(body)))


def issue_codes(body: dict[str, Any]) -> list[str]:
    """Return the codes of an OperationOutcome, each once, those that FHIR knows."""
    issues = body.get("issue")
    listed = issues if isinstance(issues, list) else []
    codes = [one.get("code") for one in listed if isinstance(one, dict)]
    return [code for code in dict.fromkeys(map(str, codes)) if code in ISSUE_CODES][:_MAX_CODES]


def _of_transaction(body: dict[str, Any]) -> Reply:
    """Return the consequence of a transaction-response."""
    entries = body.get("entry")
    if body.get("type") != "transaction-response" or not isinstance(entries, list) or not entries:
        return Reply(DeliveryStatus.PENDING, "HTTP 200 without a transaction-response", 200)
    answers = [entry.get("response") for entry in entries if isinstance(entry, dict)]
    statuses = [str(one.get("status", "")) for one in answers if isinstance(one, dict)]
    if len(statuses) == len(entries) and all(one.startswith("2") for one in statuses):
        return Reply(DeliveryStatus.SENT, "", 200)
    return Reply(DeliveryStatus.PARKED, "HTTP 200, but an entry was not taken", 200)


def _resource_in(answer: Answer) -> dict[str, Any]:
    """Return the resource in an answer, an empty one where there is none."""
    body = answer.json()
    return body if isinstance(body, dict) else {}
