"""The SCP of the node: listener, door and conversations put together.

An association's thread receives and answers, and does nothing else. Inference, completion and
delivery happen elsewhere and can fail without it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from node.admission import Admission
from node.association import Association, House
from node.channel import Channel
from node.clock import Clock
from node.config import NodeSettings
from node.errors import HandshakeRefused
from node.handshakes import accept
from node.journal import Journal
from node.listeners import Listeners
from node.logs import get_logger, say
from node.meters import NO_METERS, Meters
from node.negotiation import offers_of
from node.peers import PeerBook
from node.receiver import Receiver
from node.records import Rejection
from node.refusals import Refusals
from node.server import Connection, Room, Server
from node.services import Service
from node.tls import Tls

_LOG = get_logger("scp")
_MIN_ROOM, _MIN_ROOM_OF_ADDRESS = 768, 640
_CONNECTIONS_PER_ASSOCIATION = 4


class Scp:
    """The listener of the node.

    Parameters
    ----------
    settings
        The `node:` section.
    peers
        Who may talk to us.
    receiver, journal
        Where received images and refusals go.
    clock
        The time of a refusal.
    tls
        Certificates and keys, used where `node.tls.enabled` is set.
    services
        What is offered beside verification and storage.
    meters
        Count what comes.
    """

    def __init__(
        self,
        settings: NodeSettings,
        peers: PeerBook,
        receiver: Receiver,
        journal: Journal,
        clock: Clock,
        tls: Tls,
        services: Sequence[Service] = (),
        meters: Meters = NO_METERS,
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._admission = Admission(settings, peers)
        self._refusals = Refusals(peers, journal, clock, meters)
        self._house = House(
            settings,
            self._admission,
            receiver,
            self._refusals,
            offers_of(services),
            {(one.sop_class_uid, kind): one for one in services for kind in one.operations},
            meters,
        )
        self._server = Server(
            (settings.bind, settings.port),
            _room(settings),
            settings.acse_timeout_s,
            self._converse,
        )

    def start(self, listeners: Listeners) -> None:
        """Listen, in a thread.

        Parameters
        ----------
        listeners
            Gives the socket.

        Raises
        ------
        OSError
            The address cannot be bound.
        """
        self._server.start(listeners)
        say(
            _LOG,
            "scp.listening",
            ae_title=self._settings.ae_title,
            bind=self._settings.bind,
            port=self._settings.port,
            tls=self._settings.tls.enabled,
        )

    def retire(self) -> None:
        """Let nobody else in; associations that are open go on, under the rules of then."""
        self._server.retire()

    def stop(self) -> None:
        """Stop listening and end what is still open; what was not acknowledged is sent again."""
        self._server.stop()

    def open_study_uids(self) -> frozenset[str]:
        """Return the studies of which an image came over an association that is still open."""
        return self._admission.open_study_uids()

    def num_associations(self) -> int:
        """Return the number of associations that are open."""
        return self._admission.num_open()

    def is_listening(self) -> bool:
        """Tell whether callers are heard."""
        return self._server.is_listening()

    def num_connections(self) -> int:
        """Return the number of connections that are open, associations or not."""
        return self._server.num_connections()

    def _converse(self, connection: Connection) -> None:
        """Talk over one connection until it is over."""
        sock = self._secured(connection)
        if sock is None:
            return
        connection.sock = sock
        Association(self._house, Channel(sock), connection).run()

    def _secured(self, connection: Connection) -> socket.socket | None:
        """Shake hands where TLS is on, here in the connection's thread."""
        if not self._settings.tls.enabled:
            return connection.sock
        try:
            return accept(connection.sock, self._tls, self._settings.acse_timeout_s)
        except HandshakeRefused as refused:
            rejection = Rejection("tls", "", connection.address, str(refused), refused.hint)
            self._refusals.note(rejection)
            return None


def _room(settings: NodeSettings) -> Room:
    """Return how many connections may knock, so that whoever is turned away is told why."""
    per_association = _CONNECTIONS_PER_ASSOCIATION
    return Room(
        max(_MIN_ROOM, per_association * settings.max_associations),
        max(_MIN_ROOM_OF_ADDRESS, per_association * settings.max_associations_per_ip),
    )
