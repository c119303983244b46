"""What may be written to a log: keys instead of identifiers, nothing that breaks a line."""

from __future__ import annotations

import hashlib
import json
import re

_PLAIN = re.compile(r"[A-Za-z0-9_.:,/@+\-\[\]()]+")
_KEY_LENGTH = 12


def key(identifier: str) -> str:
    """Return the short one-way key by which an identifier appears in logs.

    A study or instance UID is no name, but together with other records it points at a
    patient; the key lets two log lines be matched, and the ledger finds a study by it.
    """
    return hashlib.sha256(identifier.encode()).hexdigest()[:_KEY_LENGTH]


def patient_digest(patient_id: str, issuer: str) -> str:
    """Return a digest that tells two patients in one study apart and names neither."""
    return hashlib.sha256(f"{patient_id.strip()}\0{issuer.strip()}".encode()).hexdigest()


def field(value: object) -> str:
    """Render one value of a log line: no control characters, quoted where it holds spaces."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)
