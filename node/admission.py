"""Who gets an association, and how many: title, address, certificate, and room."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from node.config import NodeSettings
from node.handshakes import check_identity
from node.pdu import APPLICATION_CONTEXT, AssociateRequest
from node.peers import (
    CALLED_NOT_RECOGNISED,
    CONTEXT_NAME_NOT_SUPPORTED,
    LOCAL_LIMIT_EXCEEDED,
    Peer,
    PeerBook,
    Refusal,
)


@dataclass(eq=False)
class Place:
    """What an admitted association takes up: a place of its peer and of its address."""

    peer: Peer
    address: str
    called_aet: str = ""
    """The title of ours that it asked for; empty where that is none of ours."""
    study_uids: set[str] = field(default_factory=set)
    """Studies of which an image came over it."""


class Admission:
    """The door.

    Parameters
    ----------
    settings
        The `node:` section.
    peers
        Who may talk to us.
    """

    def __init__(self, settings: NodeSettings, peers: PeerBook) -> None:
        self._settings = settings
        self._peers = peers
        self._places: set[Place] = set()
        self._lock = threading.Lock()

    def admit(
        self, request: AssociateRequest, address: str, sock: socket.socket
    ) -> Place | Refusal:
        """Give a caller a place, or say why not."""
        peer = self._identify(request, address, sock)
        if isinstance(peer, Refusal):
            return peer
        with self._lock:
            full = self._no_room(peer, address)
            if full is not None:
                return full
            ours = request.called_aet in self._settings.own_titles
            place = Place(peer, address, request.called_aet if ours else "")
            self._places.add(place)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back."""
        with self._lock:
            self._places.discard(place)

    def carry(self, place: Place, study_uid: str) -> None:
        """Note that an association carries images of a study."""
        with self._lock:
            place.study_uids.add(study_uid)

    def open_study_uids(self) -> frozenset[str]:
        """Return the studies of which an image came over an association that is still open."""
        with self._lock:
            return frozenset(uid for place in self._places for uid in place.study_uids)

    def num_open(self) -> int:
        """Return the number of associations."""
        return len(self._places)

    def _identify(
        self, request: AssociateRequest, address: str, sock: socket.socket
    ) -> Peer | Refusal:
        if request.application_context != APPLICATION_CONTEXT:
            return Refusal(CONTEXT_NAME_NOT_SUPPORTED, "unknown application context", "")
        found = self._peers.find(request.calling_aet, address)
        peer = found if isinstance(found, Refusal) else check_identity(found, sock)
        if isinstance(peer, Refusal):
            return peer
        return called_refusal(self._settings, request.called_aet) or peer

    def _no_room(self, peer: Peer, address: str) -> Refusal | None:
        """Return why there is no place for one more association, if there is none."""
        by_peer = Counter(place.peer.name for place in self._places)
        by_address = Counter(place.address for place in self._places)
        settings = self._settings
        waiting = sum(name not in by_peer for name in self._peers.names() if name != peer.name)
        kept = min(waiting, settings.max_associations - 1) if by_peer[peer.name] else 0
        tests: tuple[tuple[Callable[[], bool], str, str], ...] = (
            (
                lambda: by_peer.total() >= settings.max_associations,
                "too many associations",
                "raise `node.max_associations`",
            ),
            (
                lambda: by_address[address] >= settings.max_associations_per_ip,
                "too many associations from this address",
                "raise `node.max_associations_per_ip`",
            ),
            (
                lambda: by_peer[peer.name] >= settings.max_associations_per_peer,
                "too many associations of this peer",
                "raise `node.max_associations_per_peer`",
            ),
            (
                lambda: by_peer.total() >= settings.max_associations - kept,
                "the last places are kept for the other peers",
                "raise `node.max_associations`",
            ),
        )
        full = next(((reason, hint) for is_so, reason, hint in tests if is_so()), None)
        return None if full is None else Refusal(LOCAL_LIMIT_EXCEEDED, *full)


def called_refusal(settings: NodeSettings, called_aet: str) -> Refusal | None:
    """Return why a caller is refused that asks for a title, None where it is ours."""
    ours = settings.own_titles
    if not settings.check_called_aet or called_aet in ours:
        return None
    hint = (
        f"let the caller ask for {' or '.join(ours)}, add its title to `node.ae_titles`,"
        " or set `node.check_called_aet: false`"
    )
    return Refusal(CALLED_NOT_RECOGNISED, "called AE title is not ours", hint)
