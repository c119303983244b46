"""Who may talk to the node: calling AE title and address together, and why not."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node.config import PeerSettings

CALLING_NOT_RECOGNISED = (1, 1, 3)
CALLED_NOT_RECOGNISED = (1, 1, 7)
CONTEXT_NAME_NOT_SUPPORTED = (1, 1, 2)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
"""A-ASSOCIATE-RJ result, source and reason (PS3.8 table 9-21)."""

_KINDS = {
    CALLING_NOT_RECOGNISED: "calling_aet",
    CALLED_NOT_RECOGNISED: "called_aet",
    CONTEXT_NAME_NOT_SUPPORTED: "context",
    LOCAL_LIMIT_EXCEEDED: "limit",
}

Resolver = Callable[[str], frozenset[str]]


@dataclass(frozen=True)
class Peer:
    """A configured peer and the name it has in the configuration."""

    name: str
    settings: PeerSettings


@dataclass(frozen=True)
class Refusal:
    """Why an association is refused, and what would let it in."""

    code: tuple[int, int, int]
    reason: str
    hint: str

    @property
    def kind(self) -> str:
        """The reason in a word, one of few."""
        return _KINDS[self.code]


def resolve(host: str) -> frozenset[str]:
    """Return the addresses of a host, none where its name cannot be resolved."""
    try:
        return frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()


def plain_address(address: str) -> str:
    """Return an address without the IPv6 wrapping of IPv4 and without a zone."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


class PeerBook:
    """The allow-list.

    Parameters
    ----------
    peers
        The `peers:` section of the configuration.
    resolver
        How a host name becomes addresses; asked at each association, so a peer that moves is
        found again.
    """

    def __init__(self, peers: Mapping[str, PeerSettings], resolver: Resolver = resolve) -> None:
        self._peers = [Peer(name, settings) for name, settings in peers.items()]
        self._resolve = resolver

    def find(self, calling_aet: str, address: str) -> Peer | Refusal:
        """Return the peer that calls, or why it is refused."""
        titled = [peer for peer in self._peers if peer.settings.ae_title == calling_aet]
        if not titled:
            return Refusal(
                CALLING_NOT_RECOGNISED,
                "calling AE title is not known",
                f"add a peer with `ae_title: {calling_aet}` under `peers:`",
            )
        for peer in titled:
            if self._may_come_from(peer.settings, address):
                return peer
        return Refusal(
            CALLING_NOT_RECOGNISED,
            f"peer {titled[0].name} may not call from this address",
            f"add {address} to `peers.{titled[0].name}.cidr`",
        )

    def names(self) -> tuple[str, ...]:
        """Return the names of all peers."""
        return tuple(peer.name for peer in self._peers)

    def knows(self, ae_title: str) -> bool:
        """Tell whether some peer has a title."""
        return any(peer.settings.ae_title == ae_title for peer in self._peers)

    def _may_come_from(self, settings: PeerSettings, address: str) -> bool:
        if not settings.cidr:
            return address in self._resolve(settings.host)
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(network) for network in settings.cidr)
