"""Passwords as they are kept: scrypt (RFC 7914) with a salt each, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from node.errors import NodeError

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256
_SALT_BYTES = 16
_KEY_BYTES = 64
_MARGIN = 2
"""OpenSSL wants a little more memory than the 128 N r bytes of the algorithm."""


class PasswordUnfit(NodeError):
    """The password cannot be used."""

    default_hint = f"take {MIN_LENGTH} characters or more: a sentence is easy to remember"


@dataclass(frozen=True)
class _Cost:
    """Cost of a guess: ``n`` blocks of ``128 r`` bytes, ``p`` times over."""

    n: int = 2**15
    r: int = 8
    p: int = 3

    def digest(self, password: str, salt: bytes) -> bytes:
        """Return the key of a password; some 100 ms and 32 MiB by the default cost."""
        memory = _MARGIN * 128 * self.n * self.r
        return hashlib.scrypt(
            password.encode(), salt=salt, n=self.n, r=self.r, p=self.p, maxmem=memory
        )


def check_fit(name: str, password: str) -> None:
    """Refuse a password that would be guessed.

    Raises
    ------
    PasswordUnfit
        It is too short, too long, one character over and over, or made of the name.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise PasswordUnfit(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if len(set(password)) < MIN_LENGTH // 2 or name.lower() in password.lower():
        raise PasswordUnfit("the password is too easy to guess")


def hashed(password: str) -> str:
    """Return what is kept of a password."""
    cost, salt = _Cost(), secrets.token_bytes(_SALT_BYTES)
    return _written(cost, salt, cost.digest(password, salt))


def nobodys() -> str:
    """Return what nobody has the password of; to compare with it costs as much as with another."""
    return _written(_Cost(), secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_KEY_BYTES))


def _written(cost: _Cost, salt: bytes, key: bytes) -> str:
    return "scrypt$" + "$".join(map(str, (cost.n, cost.r, cost.p, _text(salt), _text(key))))


def fits(password: str, kept: str) -> bool:
    """Tell whether a password is the one of which something was kept."""
    kind, *parts = kept.split("$")
    if kind != "scrypt" or len(parts) != 5:
        return False
    try:
        cost = _Cost(*(int(part) for part in parts[:3]))
        salt, key = (base64.b64decode(part, validate=True) for part in parts[3:])
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(cost.digest(password[:MAX_LENGTH], salt), key)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
