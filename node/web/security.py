"""Who may come in: tokens from a file, sessions of this process, and a pause after wrong tries.

Everything that compares a secret does so in constant time, and keeps digests alone. The accounts of
people are `node.accounts`; tokens are for programs.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import stat
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from node.clock import Clock
from node.errors import NodeError
from node.roles import Role

_MIN_TOKEN = 24
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_MAX_ADDRESSES = 10_000
_MAX_SESSIONS = 1_000
_OTHERS = stat.S_IROTH | stat.S_IWOTH


class TokenFileUnfit(NodeError):
    """The file of tokens cannot be used."""

    default_hint = (
        "a line each: a name, a token of 24 characters or more, a role if not radiologist"
    )


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in, and the word that their forms must hold."""

    name: str
    role: Role
    csrf: str | None = None
    """None where every request shows the token itself: no browser adds that by itself."""
    has_account: bool = False
    """False where it is a token of the file."""

    def may(self, needed: Role) -> bool:
        """Tell whether somebody may do what a role may."""
        return self.role.may(needed)


class Tokens:
    """The digests of tokens, each with a name and a role.

    Raises
    ------
    TokenFileUnfit
        The file cannot be read, is readable for everybody, or holds a token that is too short.
    """

    def __init__(self, path: Path | None) -> None:
        self._holders = [] if path is None else _read_tokens(path)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._holders)

    def holder(self, token: str) -> Visitor | None:
        """Return whose token it is; every one is compared, whichever fits."""
        digest = _digest(token)
        found = [one for known, one in self._holders if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def _read_tokens(path: Path) -> list[tuple[str, Visitor]]:
    place = f"node.web.token_file: {path}"
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileUnfit(f"{place} cannot be read") from error
    if mode & _OTHERS:
        raise TokenFileUnfit(f"{place} is open to every user of this machine", hint="chmod 0600")
    lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    for number, words in enumerate(lines, start=1):
        if len(words) not in (2, 3) or not _NAME.fullmatch(words[0]) or len(words[1]) < _MIN_TOKEN:
            raise TokenFileUnfit(f"{place}: entry {number} is not a name with a long token")
        if words[2:] and words[2] not in [*Role]:
            raise TokenFileUnfit(f"{place}: entry {number} names a role that does not exist")
    if not lines:
        raise TokenFileUnfit(f"{place} holds no token")
    return [
        (_digest(token), Visitor(name, Role(role[0]) if role else Role.RADIOLOGIST))
        for name, token, *role in lines
    ]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Doorkeeper:
    """Counts wrong tokens by address, and locks an address out that had too many.

    Parameters
    ----------
    max_failures
        Wrong tokens in a row, within `lockout_s` of each other, that bring the lock.
    lockout_s
        Seconds that it lasts.
    """

    def __init__(self, clock: Clock, *, max_failures: int, lockout_s: float) -> None:
        self._clock = clock
        self._max_failures = max_failures
        self._lockout_s = lockout_s
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Return the seconds that an address has to wait; 0 where it may try."""
        with self._lock:
            count, last_at = self._failures.get(_network(address), (0, 0.0))
            left_s = last_at + self._lockout_s - self._clock.now()
            return left_s if count >= self._max_failures and left_s > 0 else 0.0

    def failed(self, address: str) -> bool:
        """Count a wrong token; tell whether it is the one that locks."""
        now, network = self._clock.now(), _network(address)
        with self._lock:
            count, last_at = self._failures.pop(network, (0, 0.0))
            count = count + 1 if now - last_at < self._lockout_s else 1
            self._failures[network] = (count, now)
            if len(self._failures) > _MAX_ADDRESSES:
                self._failures.pop(next(iter(self._failures)))
            return count == self._max_failures

    def succeeded(self, address: str) -> None:
        """Forget the wrong tokens of an address."""
        with self._lock:
            self._failures.pop(_network(address), None)


def _network(address: str) -> str:
    """Return what counts as one place: an IPv6 site chooses freely among its 2**64 addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Sessions:
    """Who is logged in; gone with the process, so everybody logs in again after a restart."""

    def __init__(self, clock: Clock, lasts_s: float) -> None:
        self._clock = clock
        self._lasts_s = lasts_s
        self._open: dict[str, tuple[Visitor, float]] = {}
        self._lock = threading.Lock()

    def begin(self, visitor: Visitor) -> str:
        """Open a session; return the secret that goes into the cookie."""
        secret, now = secrets.token_urlsafe(32), self._clock.now()
        visitor = replace(visitor, csrf=secrets.token_urlsafe(32))
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept[1] > now}
            if len(self._open) >= _MAX_SESSIONS:
                self._open.pop(next(iter(self._open)))
            self._open[_digest(secret)] = (visitor, now + self._lasts_s)
        return secret

    def find(self, secret: str) -> Visitor | None:
        """Return whose session it is, if it is still open."""
        with self._lock:
            visitor, until = self._open.get(_digest(secret), (None, 0.0))
        return visitor if until > self._clock.now() else None

    def end_all(self, name: str) -> None:
        """Close every session of somebody."""
        with self._lock:
            self._open = {key: one for key, one in self._open.items() if one[0].name != name}

    def end(self, secret: str) -> None:
        """Close a session."""
        with self._lock:
            self._open.pop(_digest(secret), None)
