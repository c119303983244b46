"""One-way keys: how an identifier appears where it may not stand itself."""

from __future__ import annotations

import hashlib

_LENGTH = 12


def key(identifier: str) -> str:
    """Return the short one-way key of an identifier: 12 hexadecimal digits of its SHA-256.

    A study or instance UID is no name, but together with other records it points at a
    patient; the key lets two log lines be matched, and whoever has the identifier find it.
    """
    return hashlib.sha256(identifier.encode()).hexdigest()[:_LENGTH]
