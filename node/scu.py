"""The SCU: C-ECHO and C-STORE to a peer, one association a batch, closed after it.

Associations are never held open: four idle ones block an Orthanc.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context

from node.config import NodeSettings, PeerSettings
from node.errors import PeerError
from node.sop_classes import UNCOMPRESSED, VERIFICATION
from node.transport import HurriedSocket, close
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


class Scu:
    """Calls peers under our AE title.

    Parameters
    ----------
    settings
        Our AE title and the time-outs.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings

    def echo(self, peer: PeerSettings) -> float:
        """Verify a peer (PS3.4 annex A); return the milliseconds that it took.

        Raises
        ------
        PeerError
            It cannot be reached, refuses the association, or answers anything but success.
        """
        started = time.perf_counter()
        with self._association(peer, [VERIFICATION]) as assoc:
            takes_it = bool(assoc.accepted_contexts)
            status = assoc.send_c_echo().get("Status") if takes_it else None
        if status != 0:
            answer = "no answer" if status is None else f"status 0x{status:04X}"
            raise PeerError(f"C-ECHO failed: {answer}")
        return (time.perf_counter() - started) * 1000

    def store(
        self, peer: PeerSettings, objects: Iterable[Dataset], sop_class_uids: Sequence[str]
    ) -> Iterator[int | str]:
        """Send objects over one association (PS3.4 annex B).

        Parameters
        ----------
        objects
            What to send; the next one is taken when the one before is answered.
        sop_class_uids
            The classes among them: one presentation context each.

        Yields
        ------
        int or str
            For each object the response status, or why there is none.

        Raises
        ------
        PeerError
            There is no association, or it was lost before the next object.
        """
        with self._association(peer, sop_class_uids) as assoc:
            accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
            for ds in objects:
                takes_it = ds.SOPClassUID in accepted
                yield _store_one(assoc, ds) if takes_it else _not_taken(ds.SOPClassUID)

    @contextmanager
    def _association(
        self, peer: PeerSettings, sop_class_uids: Sequence[str]
    ) -> Iterator[Association]:
        """Open an association; release it and close its connection at the end."""
        connected: list[socket.socket] = []
        try:
            assoc = self._associate(peer, sop_class_uids, connected)
            if not assoc.is_established:
                raise PeerError(_why_not(assoc, peer, connected=bool(connected)))
            yield assoc
            if assoc.is_established:
                assoc.release()
        finally:
            for sock in connected:
                close(sock)

    def _associate(
        self, peer: PeerSettings, sop_class_uids: Sequence[str], connected: list[socket.socket]
    ) -> Association:
        """Ask for an association with one presentation context for each class."""
        ae = AE(self._settings.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = self._settings.max_pdu
        ae.connection_timeout = self._settings.acse_timeout_s
        ae.acse_timeout = self._settings.acse_timeout_s
        ae.dimse_timeout = self._settings.dimse_timeout_s
        ae.network_timeout = self._settings.idle_timeout_s
        contexts = [build_context(uid, list(UNCOMPRESSED)) for uid in dict.fromkeys(sop_class_uids)]
        try:
            return ae.associate(
                peer.host,
                peer.port,
                contexts=contexts,
                ae_title=peer.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, _on_connected, [connected])],
            )
        except (OSError, RuntimeError) as error:
            raise PeerError(f"cannot connect to {peer.host}:{peer.port}") from error


def _not_taken(*sop_class_uids: str | None) -> str:
    names = ", ".join(UID(uid or "").name for uid in sop_class_uids)
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


def _on_connected(event: Event, connected: list[socket.socket]) -> None:
    """Put our own socket in place, before the first PDU."""
    wrapper = event.assoc.dul.socket
    if wrapper is not None and wrapper.socket is not None:
        wrapper.socket = HurriedSocket.over(wrapper.socket)
        connected.append(wrapper.socket)


def _why_not(assoc: Association, peer: PeerSettings, *, connected: bool) -> str:
    """Say why there is no association."""
    if not connected:
        return f"cannot connect to {peer.host}:{peer.port}"
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        reason = getattr(answer, "reason_str", "")
        return f"association rejected: {reason}"
    if assoc.rejected_contexts:
        return _not_taken(*(context.abstract_syntax for context in assoc.rejected_contexts))
    return "the peer aborted the association"
