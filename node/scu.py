"""The SCU: calls to a peer, C-ECHO and C-STORE over them; one association a batch, closed after it.

Associations are never held open: four idle ones block an Orthanc.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import PresentationContext, build_context, build_role

from node.config import NodeSettings, PeerSettings
from node.errors import HandshakeRefused, PeerError
from node.handshakes import connect, peer_certificate
from node.sop_classes import RARER, UNCOMPRESSED, VERIFICATION
from node.tls import Tls
from node.transport import HurriedSocket, close
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PAUSE_LIMIT_S = 2.0


@dataclass
class _Call:
    """One call: the connections that it made, and what TLS had against it."""

    peer: PeerSettings
    sop_class_uids: Sequence[str]
    is_scp: bool = False
    handlers: Sequence[EventHandlerType] = ()
    timeout_s: float = math.inf
    takes: Sequence[str] = ()
    connected: list[socket.socket] = field(default_factory=list)
    refused: HandshakeRefused | None = None


@dataclass(frozen=True)
class NotTaken:
    """An object was not sent: the peer takes no such class, but these."""

    sop_class_uid: str
    accepted: Collection[str | None]

    @property
    def reason(self) -> str:
        """Return why it was not sent."""
        return _not_taken(self.sop_class_uid)


class Scu:
    """Calls peers under our AE title.

    Parameters
    ----------
    settings
        Our AE title and the time-outs.
    tls
        Certificates and keys, for the peers that are called over TLS.
    """

    def __init__(self, settings: NodeSettings, tls: Tls) -> None:
        self._settings = settings
        self._tls = tls

    def echo(self, peer: PeerSettings) -> float:
        """Verify a peer (PS3.4 annex A); return the milliseconds that it took.

        Raises
        ------
        PeerError
            It cannot be reached, refuses the association, or answers anything but success.
        """
        started = time.perf_counter()
        with self.association(peer, [VERIFICATION]) as assoc:
            takes_it = bool(assoc.accepted_contexts)
            status = assoc.send_c_echo().get("Status") if takes_it else None
        if status != 0:
            answer = "no answer" if status is None else f"status 0x{status:04X}"
            raise PeerError(f"C-ECHO failed: {answer}")
        return (time.perf_counter() - started) * 1000

    def store(
        self, peer: PeerSettings, objects: Iterable[Dataset], sop_class_uids: Sequence[str]
    ) -> Iterator[int | str | NotTaken]:
        """Send objects over one association (PS3.4 annex B).

        Parameters
        ----------
        objects
            What to send; the next one is taken when the one before is answered.
        sop_class_uids
            The classes among them: one presentation context each.

        Yields
        ------
        int or str or NotTaken
            For each object the response status, or why there is none.

        Raises
        ------
        PeerError
            There is no association, or it was lost before the next object.
        """
        with self.association(peer, sop_class_uids) as assoc:
            accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
            for ds in objects:
                takes_it = ds.SOPClassUID in accepted
                yield _store_one(assoc, ds) if takes_it else NotTaken(ds.SOPClassUID, accepted)

    @contextmanager
    def association(
        self,
        peer: PeerSettings,
        sop_class_uids: Sequence[str],
        *,
        is_scp: bool = False,
        handlers: Sequence[EventHandlerType] = (),
        timeout_s: float = math.inf,
        total_s: float = math.inf,
        takes: Sequence[str] = (),
    ) -> Iterator[Association]:
        """Open an association; release it and close its connection at the end.

        Parameters
        ----------
        is_scp
            Ask for the SCP role (PS3.7 section D.3.3.4): we call, but to report.
        handlers
            What answers requests that the peer sends over this association.
        timeout_s
            Wait no longer for any answer, however patient the node is by its settings.
        total_s
            Cut the connection after so long, whatever is under way.
        takes
            Storage classes that the peer may send to us over this association (PS3.4 section
            C.5.3), in every transfer syntax that the node reads.

        Raises
        ------
        PeerError
            There is no association.
        """
        call = _Call(peer, sop_class_uids, is_scp, handlers, timeout_s, takes)
        try:
            with _cutting(call.connected, total_s):
                assoc = self._associate(call)
                if not assoc.is_established:
                    raise _why_not(assoc, call)
                yield assoc
                if assoc.is_established:
                    _release(assoc)
        finally:
            for sock in call.connected:
                close(sock)

    def _associate(self, call: _Call) -> Association:
        """Ask for an association with one presentation context for each class."""
        ae = AE(self._settings.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = self._settings.max_pdu
        ae.connection_timeout = min(self._settings.acse_timeout_s, call.timeout_s)
        ae.acse_timeout = min(self._settings.acse_timeout_s, call.timeout_s)
        ae.dimse_timeout = min(self._settings.dimse_timeout_s, call.timeout_s)
        ae.network_timeout = self._settings.idle_timeout_s
        reversed_classes = [*(call.sop_class_uids if call.is_scp else ()), *call.takes]
        roles: list[Any] = [
            build_role(uid, scp_role=True) for uid in dict.fromkeys(reversed_classes)
        ]
        peer = call.peer
        try:
            return ae.associate(
                peer.host,
                peer.port,
                contexts=_contexts(call),
                ae_title=peer.ae_title,
                ext_neg=roles,
                evt_handlers=[(evt.EVT_CONN_OPEN, self._on_connected, [call]), *call.handlers],
            )
        except (OSError, RuntimeError) as error:
            raise PeerError(f"cannot connect to {peer.host}:{peer.port}") from error

    def _on_connected(self, event: Event, call: _Call) -> None:
        """Put our own socket in place, over TLS where the peer wants it, before the first PDU.

        Where TLS comes to nothing the connection is closed, and pynetdicom finds it so.
        """
        wrapper = event.assoc.dul.socket
        if wrapper is None or wrapper.socket is None:
            return
        wrapper.socket = HurriedSocket.over(wrapper.socket)
        call.connected.append(wrapper.socket)
        if call.peer.tls:
            try:
                wrapper.socket = self._secured(wrapper.socket, call.peer)
            except HandshakeRefused as refused:
                call.refused = refused
            else:
                call.connected.append(wrapper.socket)

    def _secured(self, sock: socket.socket, peer: PeerSettings) -> socket.socket:
        """Shake hands with a peer, and warn where its certificate expires soon."""
        secured = connect(sock, self._tls, peer, self._settings.acse_timeout_s)
        certificate = peer_certificate(secured)
        if certificate is not None:
            self._tls.warn(f"peer {peer.ae_title}", certificate)
        return secured


def _contexts(call: _Call) -> list[PresentationContext]:
    """Return what to propose: a rarer syntax stands alone, so a peer need not convert."""
    classes = dict.fromkeys((*call.sop_class_uids, *call.takes))
    return [
        *(build_context(uid, list(UNCOMPRESSED)) for uid in classes),
        *(build_context(uid, syntax) for uid in call.takes for syntax in RARER),
    ]


@contextmanager
def _cutting(connected: list[socket.socket], total_s: float) -> Iterator[None]:
    """Cut the connections that there are when the time is up."""
    if math.isinf(total_s):
        yield
        return
    timer = threading.Timer(total_s, _cut, [connected])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connected: list[socket.socket]) -> None:
    """End connections that are in use; who uses them finds them at their end and closes them."""
    for sock in connected:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _release(assoc: Association) -> None:
    """Release an association as pynetdicom does, but not without end.

    `Association.release` first waits for the thread that reads to pause. Where that thread ends at
    the same moment, as it does when the peer hangs up, it never pauses: one call in some thousands
    then waited for ever. The connection is closed after this in any case.
    """
    assoc._reactor_checkpoint.clear()
    deadline = time.monotonic() + _PAUSE_LIMIT_S
    while not assoc._is_paused and time.monotonic() < deadline:
        time.sleep(0.0005)
    if assoc._is_paused:
        assoc.acse.negotiate_release()
    assoc._reactor_checkpoint.set()


def _not_taken(*sop_class_uids: str | None) -> str:
    names = ", ".join(dict.fromkeys(UID(uid or "").name for uid in sop_class_uids))
    return f"the peer does not take {names}"


def _store_one(assoc: Association, ds: Dataset) -> int | str:
    """Send one object; return its status, or why there is none."""
    try:
        answer = assoc.send_c_store(ds)
    except RuntimeError as error:
        raise PeerError("the association was lost") from error
    except (AttributeError, ValueError) as error:
        return f"the object cannot be encoded for the peer: {type(error).__name__}"
    return int(answer.Status) if "Status" in answer else "no answer"


def _why_not(assoc: Association, call: _Call) -> PeerError:
    """Say why there is no association."""
    peer = call.peer
    if not call.connected:
        return PeerError(f"cannot connect to {peer.host}:{peer.port}")
    if call.refused is not None:
        return PeerError(f"TLS: {call.refused}", hint=call.refused.hint)
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        reason = getattr(answer, "reason_str", "")
        return PeerError(f"association rejected: {reason}")
    if assoc.rejected_contexts:
        return PeerError(_not_taken(*(one.abstract_syntax for one in assoc.rejected_contexts)))
    hint = "it may not accept our certificate; its log says more" if peer.tls else ""
    return PeerError("the peer aborted the association", hint=hint)
