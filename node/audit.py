"""The auditor: writes down who did what to whose images (PS3.15 annex A).

Messages name patients. They go to the trail (`node.audit_chain`) and from there to the audit
repository (`node.audit_forward`), and nowhere else: never to the log.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from node import audit_message as atna
from node.audit_chain import AuditError, Chain
from node.audit_events import AuditedEvents
from node.audit_message import Message, Origin
from node.audit_xml import to_xml
from node.clock import Clock, as_datetime
from node.config import Settings
from node.logs import get_logger, say
from node.settings_view import leaves
from node.tls import Tls

_LOG = get_logger("audit")
_RETRY_S = 30.0
_UNKNOWN = "unknown"
_OF_SECURITY = (
    "node.tls",
    "node.audit",
    "node.web",
    "node.bind",
    "node.port",
    "node.ae_title",
    "peers",
)


def trail_path(settings: Settings) -> Path:
    """Return where the audit trail lies."""
    return settings.node.audit.file or settings.node.storage.root / "audit.jsonl"


def whose(path: Path) -> tuple[str, str]:
    """Return Patient ID and Accession Number of a stored object."""
    wanted = ["PatientID", "AccessionNumber"]
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=list(wanted))
    except (OSError, InvalidDicomError):
        return _UNKNOWN, ""
    patient_id, accession = (str(ds.get(keyword) or "") for keyword in wanted)
    return patient_id or _UNKNOWN, accession


class Auditor:
    """Keeps the trail up with the ledger.

    Parameters
    ----------
    chain
        The trail.
    events
        What the ledger knows.
    tls
        The certificates, whose replacement is audited.
    """

    def __init__(
        self, settings: Settings, chain: Chain, events: AuditedEvents, tls: Tls, clock: Clock
    ) -> None:
        self._settings = settings
        self._chain = chain
        self._events = events
        self._tls = tls
        self._clock = clock
        self._origin = Origin(settings.node.ae_title, settings.node.audit.site)
        self._fingerprints = self._certificates()
        self._quiet_until = 0.0

    def start(self, *, resumes: bool = False) -> None:
        """Audit the start of the node, and the settings that changed since the last one.

        Parameters
        ----------
        resumes
            The node has been running, with other settings: it does not start.
        """
        node = self._events.node
        started = [] if resumes else [atna.application_activity(self._now(), node, starts=True)]
        messages: list[Message] = started
        self._write([*messages, *self._changed_settings()], {})
        _write_settings(self._settings_path, fingerprints(self._settings))

    def stop(self) -> None:
        """Audit what is left, and the stop of the node."""
        if self._chain.is_closed:
            return
        while self.step():
            pass
        stopped = atna.application_activity(self._now(), self._events.node, starts=False)
        with suppress(AuditError):
            self._write([stopped], {})
        self._chain.close()

    def step(self) -> bool:
        """Audit what the ledger has that the trail has not; tell whether there was anything."""
        if self._clock.now() < self._quiet_until:
            return False
        messages, marks = self._events.after(self._chain.head.marks)
        messages += self._replaced_certificates()
        if not messages and marks == self._chain.head.marks:
            return False
        try:
            self._write(messages, marks)
        except AuditError as error:
            self._quiet_until = self._clock.now() + _RETRY_S
            reason, hint = str(error), error.hint
            say(_LOG, "audit.failed", level=logging.ERROR, reason=reason, hint=hint)
            return False
        return bool(messages)

    def _write(self, messages: list[Message], marks: dict[str, int]) -> None:
        if messages:
            self._chain.append([self._entry(message) for message in messages], marks)
        else:
            self._chain.skip(marks)

    def _entry(self, message: Message) -> dict[str, Any]:
        return {
            "at": message.at.isoformat(timespec="milliseconds"),
            "event": message.event.meaning,
            "outcome": int(message.outcome),
            "xml": to_xml(message, self._origin),
        }

    def _now(self) -> datetime:
        return as_datetime(self._clock.now())

    @property
    def _settings_path(self) -> Path:
        return self._chain.path.with_name(self._chain.path.name + ".settings")

    def _changed_settings(self) -> Iterator[Message]:
        """Yield an alert for settings that changed; it names them and tells no values."""
        before = _read_settings(self._settings_path)
        now = fingerprints(self._settings)
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        for of_security in (True, False) if before else ():
            names = [name for name in changed if name.startswith(_OF_SECURITY) == of_security]
            if names:
                yield self._configured("settings changed: " + ", ".join(names), of_security)

    def _replaced_certificates(self) -> Iterator[Message]:
        """Yield an alert where certificates were replaced since the last look."""
        now = self._certificates()
        if now != self._fingerprints:
            self._fingerprints = now
            yield self._configured("certificates were replaced", of_security=True)

    def _configured(self, text: str, of_security: bool) -> Message:
        kind = atna.SECURITY_CONFIGURATION if of_security else atna.SOFTWARE_CONFIGURATION
        node, success = self._events.node, atna.Outcome.SUCCESS
        return atna.security_alert(
            self._now(), kind, node, text, subject_id=node.ae_title, outcome=success
        )

    def _certificates(self) -> tuple[str, ...]:
        return tuple(certificate.fingerprint for _, certificate in self._tls.certificates())


def fingerprints(settings: BaseModel) -> dict[str, str]:
    """Return a short digest of every setting by its dotted path."""
    return {
        path: hashlib.sha256(repr(value).encode()).hexdigest()[:16]
        for path, value in leaves(settings)
    }


def _read_settings(path: Path) -> dict[str, str]:
    """Return the fingerprints of the last start; none where there was none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _write_settings(path: Path, values: Mapping[str, str]) -> None:
    aside = path.with_name(path.name + ".partial")
    try:
        aside.write_text(json.dumps(values))
        aside.replace(path)
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from error
