"""What a support bundle does not tell: hosts and addresses, secrets' places, UIDs, unknown titles.

The same host has the same stand-in everywhere, so what belongs together can still be seen.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from node.redact import key, stranger

HIDDEN: Final = "(hidden)"
_UID = re.compile(r"(?<![\w.])[0-2](?:\.\d+){4,}(?![\w.]*\w)")
_REGISTERED = "1.2.840.10008."
"""Of the standard itself: they name classes and syntaxes, no study."""
_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
    r"|(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?!\w)"
)
_IN_URL = re.compile(r"(?<=://)(?:[^\s/@]*@)?(\[[^\]]+\]|[^\s/:?#\"']+)")
_IN_NAME = re.compile(r"\b(?:CN=|DNS:|URI:)(?:\w+://)?([\w-]+(?:\.[\w-]+)+)")
_AT = r"(?:(?<=@)|(?<=//)){0}(?![\w-])|(?<![\w.@-]){0}(?=:\d)"
"""Where a name of one word is a host's: a peer may be called the same."""
_OURS = ("localhost", "null")


class Mask:
    """Takes out of texts what says where a site is.

    Parameters
    ----------
    hosts
        Names and addresses that the configuration holds.
    secret_places
        Paths of the files that hold secrets.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        secret_places: Iterable[str] = (),
        *,
        with_addresses: bool = False,
    ) -> None:
        self._shows_addresses = with_addresses
        self._stand_ins: dict[str, str] = {}
        self._hosts = sorted({one.lower() for one in hosts if _is_name(one)}, key=len, reverse=True)
        self._secret_places = sorted(filter(None, secret_places), key=len, reverse=True)
        self._patterns = [(re.compile(_pattern(host), re.IGNORECASE), host) for host in self._hosts]

    def text(self, text: str) -> str:
        """Return a text without them."""
        for place in self._secret_places:
            text = text.replace(place, HIDDEN)
        text = _UID.sub(lambda found: _uid(found[0]), text)
        return text if self._shows_addresses else self._without_hosts(text)

    def anything(self, value: Any) -> Any:
        """Return a JSON-ready value with every text in it masked."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(str(name)): self.anything(one) for name, one in value.items()}
            case list() | tuple():
                return [self.anything(one) for one in value]
        return value

    def _without_hosts(self, text: str) -> str:
        if text.lower() in self._hosts:
            return self._stand_in(text)
        text = _IN_URL.sub(lambda found: self._in_place(found, 1), text)
        text = _IN_NAME.sub(lambda found: self._in_place(found, 1), text)
        for pattern, host in self._patterns:
            text = pattern.sub(lambda _, host=host: self._stand_in(host), text)  # type: ignore[misc]
        return _ADDRESS.sub(self._address, text)

    def _in_place(self, found: re.Match[str], group: int) -> str:
        start, end = (place - found.start() for place in found.span(group))
        whole, name = found[0], found[group]
        known = not _is_name(name) and _as_address(name.strip("[]")) is None
        is_shown = known or name in self._stand_ins.values()
        shown = name if is_shown or _is_own(name) else self._stand_in(name)
        return whole[:start] + shown + whole[end:]

    def _address(self, found: re.Match[str]) -> str:
        text = found[0].rstrip(".:") if _as_address(found[0]) is None else found[0]
        if _as_address(text) is None or _is_own(text):
            return found[0]
        return self._stand_in(text) + found[0][len(text) :]

    def _stand_in(self, host: str) -> str:
        kind = "host" if _as_address(host) is None else "address"
        return self._stand_ins.setdefault(host.lower(), f"{kind}-{len(self._stand_ins) + 1}")


def hosts_in(value: object) -> list[str]:
    """Return the names and addresses that the text of a setting holds."""
    text = str(value)
    if "://" in text:
        host = urlsplit(text).hostname
        return [host] if host else []
    return _IN_NAME.findall(text)


def without_unknown(row: Mapping[str, Any], titles: Iterable[str]) -> dict[str, Any]:
    """Return a refusal without a caller's title that the configuration does not know.

    Who calls chooses it freely: it may be a patient's name.
    """
    title = str(row["calling_aet"])
    if not title or title in titles:
        return dict(row)
    texts = {name: str(row[name]).replace(title, stranger(title)) for name in ("reason", "hint")}
    return {**row, **texts, "calling_aet": stranger(title)}


def _pattern(host: str) -> str:
    quoted = re.escape(host)
    return rf"(?<![\w.-]){quoted}(?![\w-]|\.\w)" if "." in host else _AT.format(quoted)


def _uid(uid: str) -> str:
    return uid if uid.startswith(_REGISTERED) else f"uid:{key(uid)}"


def _is_name(text: str) -> bool:
    return bool(text) and text not in _OURS and _as_address(text) is None


def _as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_own(text: str) -> bool:
    """Tell whether an address says nothing of a site: this machine's own, or any."""
    address = _as_address(text.strip("[]"))
    return address is not None and (address.is_loopback or address.is_unspecified)
