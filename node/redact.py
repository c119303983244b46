"""What may be written to a log: keys instead of identifiers, nothing that breaks a line."""

from __future__ import annotations

import hashlib
import json
import math
import re

from engine.keys import key

__all__ = [
    "field",
    "key",
    "looks_like_a_title",
    "patient_digest",
    "stranger",
    "value",
    "without_title",
]

_PLAIN = re.compile(r"[A-Za-z0-9_.:,/@+\-\[\]()]+")
_TITLE = re.compile(r"[A-Za-z0-9_.-]{1,16}")


def stranger(ae_title: str) -> str:
    """Return the key by which a title that no peer has appears in logs.

    Who calls chooses it freely: it may be a patient's name.
    """
    return f"?{key(ae_title)}" if ae_title else ""


def looks_like_a_title(text: str) -> bool:
    """Tell whether a text may be shown as an AE title: one word, as administrators choose them."""
    return not text or _TITLE.fullmatch(text) is not None


def without_title(text: str, ae_title: str) -> str:
    """Return a hint with the title that it tells to configure replaced by its key."""
    return text.replace(f"ae_title: {ae_title}`", f"ae_title: {stranger(ae_title)}`")


def patient_digest(patient_id: str, issuer: str) -> str:
    """Return a digest that tells two patients in one study apart and names neither."""
    return hashlib.sha256(f"{patient_id.strip()}\0{issuer.strip()}".encode()).hexdigest()


def value(given: object) -> bool | int | float | str:
    """Return one value of a log line as JSON holds it; no more digits than `field` writes."""
    match given:
        case bool() | int():
            return given
        case float():
            return round(given, 3) if math.isfinite(given) else str(given)
    return str(given)


def field(value: object) -> str:
    """Render one value of a log line: no control characters, quoted where it holds spaces."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)
