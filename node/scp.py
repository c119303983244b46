"""The Storage and Verification SCP: who gets an association, and what each message is answered.

An association's thread does this and nothing else. Inference, completion and delivery happen
elsewhere and can fail without it.
"""

from __future__ import annotations

import logging
import socket
import threading
from io import BytesIO
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE

from node.clock import Clock
from node.config import NodeSettings
from node.errors import (
    MISMATCH,
    OUT_OF_RESOURCES,
    SUCCESS,
    HandshakeRefused,
    IntakeRefused,
    LedgerError,
    StorageError,
)
from node.handshakes import accept, check_identity
from node.intake import Command
from node.journal import Journal
from node.logs import get_logger, say
from node.peers import (
    CALLED_NOT_RECOGNISED,
    CONTEXT_NAME_NOT_SUPPORTED,
    LOCAL_LIMIT_EXCEEDED,
    Peer,
    PeerBook,
    Refusal,
    plain_address,
)
from node.receiver import Receiver
from node.records import Rejection
from node.redact import stranger, without_title
from node.sop_classes import IMAGE_CLASSES, TRANSFER_SYNTAXES, UNCOMPRESSED, VERIFICATION
from node.tls import Tls
from node.transport import BoundedServer, BoundedSocket, Limits
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_LOG = get_logger("scp")
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_CONNECTIONS_PER_ASSOCIATION = 4
_RIGHTS = {"echo": frozenset({VERIFICATION}), "store": frozenset(IMAGE_CLASSES)}
_EVENTS = {
    "association": "association.refused",
    "instance": "instance.refused",
    "tls": "tls.handshake_refused",
}


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
    """

    def __init__(
        self,
        settings: NodeSettings,
        peers: PeerBook,
        receiver: Receiver,
        journal: Journal,
        clock: Clock,
        tls: Tls,
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._peers = peers
        self._receiver = receiver
        self._journal = journal
        self._clock = clock
        self._admitted: dict[Association, Peer] = {}
        self._carrying: dict[Association, set[str]] = {}
        self._lock = threading.Lock()
        self._server: BoundedServer | None = None

    def start(self) -> None:
        """Listen, in a thread.

        Raises
        ------
        OSError
            The address cannot be bound.
        """
        ae = _application_entity(self._settings)
        server = BoundedServer(
            ae,
            (self._settings.bind, self._settings.port),
            self._settings.ae_title,
            ae.supported_contexts,
            evt_handlers=self._handlers(),
            limits=_limits(self._settings),
            on_refused=self._on_pdu_refused,
            secure=self._secure if self._settings.tls.enabled else None,
        )
        ae._servers.append(server)
        self._server = server
        threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.25},
            name="listener",
            daemon=True,
        ).start()
        say(
            _LOG,
            "scp.listening",
            ae_title=self._settings.ae_title,
            bind=self._settings.bind,
            port=self._settings.port,
            tls=self._settings.tls.enabled,
        )

    def stop(self) -> None:
        """Stop listening and abort what is still open; what was not acknowledged is sent again."""
        if self._server is not None:
            self._server.shutdown()
            for assoc in self._server.active_associations:
                assoc.abort()
            self._server = None

    def open_study_uids(self) -> frozenset[str]:
        """Return the studies of which an image came over an association that is still open."""
        with self._lock:
            self._forget_dead()
            return frozenset(uid for uids in self._carrying.values() for uid in uids)

    def _forget_dead(self) -> None:
        for assoc in [assoc for assoc in self._admitted if not assoc.is_alive()]:
            del self._admitted[assoc]
            self._carrying.pop(assoc, None)

    def _handlers(self) -> list[EventHandlerType]:
        return [
            (evt.EVT_REQUESTED, self.on_requested),
            (evt.EVT_ABORTED, self.on_aborted),
            (evt.EVT_DIMSE_RECV, self.on_dimse_received),
            (evt.EVT_C_ECHO, self.on_c_echo),
            (evt.EVT_C_STORE, self.on_c_store),
        ]

    def on_requested(self, event: Event) -> None:
        """Admit or reject an association request (PS3.8 section 9.3.4)."""
        assoc = event.assoc
        verdict = self._admit(assoc, cast(A_ASSOCIATE, assoc.requestor.primitive))
        if isinstance(verdict, Refusal):
            self._note("association", assoc, verdict.reason, verdict.hint)
            assoc.acse.send_reject(*verdict.code)
            assoc.kill()
            return
        allowed = frozenset[str]().union(
            *(_RIGHTS.get(right, frozenset()) for right in verdict.settings.allow)
        )
        assoc.acceptor.supported_contexts = [
            context
            for context in assoc.acceptor.supported_contexts
            if context.abstract_syntax in allowed
        ]

    def _admit(self, assoc: Association, request: A_ASSOCIATE) -> Peer | Refusal:
        """Return the peer that asks, or why it is refused."""
        if request.application_context_name != _APPLICATION_CONTEXT:
            return Refusal(CONTEXT_NAME_NOT_SUPPORTED, "unknown application context", "")
        calling, address = _name(assoc)
        found = self._peers.find(calling, address)
        if isinstance(found, Refusal):
            return found
        wire = assoc.dul.socket
        peer = check_identity(found, None if wire is None else wire.socket)
        if isinstance(peer, Refusal):
            return peer
        called = str(request.called_ae_title).strip()
        if self._settings.check_called_aet and called != self._settings.ae_title:
            return Refusal(
                CALLED_NOT_RECOGNISED,
                "called AE title is not ours",
                f"let the caller ask for {self._settings.ae_title}, or set "
                "`node.check_called_aet: false`",
            )
        with self._lock:
            self._forget_dead()
            full = self._is_full(address)
            if full is None:
                self._admitted[assoc] = peer
        return full or peer

    def _is_full(self, address: str) -> Refusal | None:
        """Return why there is no room for one more association, if there is none."""
        from_there = sum(_name(other)[1] == address for other in self._admitted)
        if len(self._admitted) >= self._settings.max_associations:
            return Refusal(
                LOCAL_LIMIT_EXCEEDED, "too many associations", "raise `node.max_associations`"
            )
        if from_there >= self._settings.max_associations_per_ip:
            return Refusal(
                LOCAL_LIMIT_EXCEEDED,
                "too many associations from this address",
                "raise `node.max_associations_per_ip`",
            )
        return None

    def _secure(self, sock: socket.socket, address: str) -> socket.socket | None:
        """Shake hands with a caller, or note why that came to nothing."""
        try:
            return accept(sock, self._tls, self._settings.acse_timeout_s)
        except HandshakeRefused as refused:
            self._turn_away(Rejection("tls", "", address, str(refused), refused.hint))
            return None

    def on_aborted(self, event: Event) -> None:
        """Note an association that ended without a release."""
        self._note("abort", event.assoc, "the association was aborted")

    def on_dimse_received(self, event: Event) -> None:
        """Start counting the bytes of the next message."""
        sock = event.assoc.dul.socket
        if isinstance(sock, BoundedSocket):
            sock.end_message()

    def on_c_echo(self, event: Event) -> int:
        """Answer a verification (PS3.4 annex A)."""
        calling, address = _name(event.assoc)
        say(_LOG, "echo.answered", calling=calling, address=address)
        return SUCCESS

    def on_c_store(self, event: Event) -> Dataset:
        """Take an image in (PS3.4 annex B): 0x0000 means that it cannot be lost any more."""
        hint = ""
        try:
            status, comment = self._take(event)
        except IntakeRefused as refused:
            status, comment, hint = refused.status, str(refused), refused.hint
        except StorageError as error:
            status, comment, hint = OUT_OF_RESOURCES, str(error), error.hint
        if status != SUCCESS:
            self._note("instance", event.assoc, comment, hint, status)
        answer = Dataset()
        answer.Status = status
        if comment:
            answer.ErrorComment = comment[:64]
        return answer

    def _take(self, event: Event) -> tuple[int, str]:
        """Hand one instance to the receiver."""
        request, context = cast(C_STORE, event.request), event.context
        command = Command(
            str(request.AffectedSOPClassUID or ""),
            str(request.AffectedSOPInstanceUID or ""),
            str(context.transfer_syntax),
        )
        if command.sop_class_uid != context.abstract_syntax:
            raise IntakeRefused(MISMATCH, "SOPClassUID is not that of the presentation context")

        def on_study(study_uid: str) -> None:
            with self._lock:
                self._carrying.setdefault(event.assoc, set()).add(study_uid)

        buffer = request.DataSet or BytesIO()
        return self._receiver.take(command, buffer, self._admitted[event.assoc].name, on_study)

    def _on_pdu_refused(self, assoc: Association, reason: str) -> None:
        self._note("abort", assoc, reason)

    def _note(
        self,
        kind: str,
        assoc: Association,
        reason: str,
        hint: str = "",
        status: int | None = None,
    ) -> None:
        """Note what was turned away on an association."""
        self._turn_away(Rejection(kind, *_name(assoc), reason, hint), status)

    def _turn_away(self, rejection: Rejection, status: int | None = None) -> None:
        """Write a rejection to the log and keep it for `cxr-node status`."""
        calling, hint = rejection.calling_aet, rejection.hint
        if not self._peers.knows(calling):
            calling, hint = stranger(calling), without_title(hint, calling)
        say(
            _LOG,
            _EVENTS.get(rejection.kind, "association.aborted"),
            level=logging.WARNING,
            calling=calling or None,
            address=rejection.address,
            status=None if status is None else f"0x{status:04X}",
            reason=rejection.reason,
            hint=hint or None,
        )
        try:
            self._journal.note_rejection(rejection, self._clock.now())
        except LedgerError as error:
            say(_LOG, "ledger.refused", level=logging.ERROR, reason=str(error))


def _name(assoc: Association) -> tuple[str, str]:
    """Return the calling AE title (empty before a request came) and the address."""
    request = assoc.requestor.primitive
    calling = str(request.calling_ae_title).strip() if request is not None else ""
    return calling, plain_address(assoc.requestor.address)


def _limits(settings: NodeSettings) -> Limits:
    return Limits(
        pdu_bytes=settings.max_pdu,
        message_bytes=settings.intake.max_object_mb * 1024 * 1024,
        request_s=settings.acse_timeout_s,
        message_s=settings.dimse_timeout_s,
        num_connections=_CONNECTIONS_PER_ASSOCIATION * settings.max_associations,
        num_connections_per_ip=_CONNECTIONS_PER_ASSOCIATION * settings.max_associations_per_ip,
    )


def _application_entity(settings: NodeSettings) -> AE:
    """Return our AE with the few presentation contexts that it accepts."""
    ae = AE(settings.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = settings.max_pdu
    ae.maximum_associations = _CONNECTIONS_PER_ASSOCIATION * settings.max_associations + 1
    ae.acse_timeout = settings.acse_timeout_s
    ae.dimse_timeout = settings.dimse_timeout_s
    ae.network_timeout = settings.idle_timeout_s
    ae.add_supported_context(VERIFICATION, list(UNCOMPRESSED))
    for sop_class_uid in IMAGE_CLASSES:
        ae.add_supported_context(sop_class_uid, list(TRANSFER_SYNTAXES))
    return ae
