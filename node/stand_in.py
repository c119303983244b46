"""A stand-in PACS for the demo: sends a film, keeps what comes back, in memory, on loopback."""

from __future__ import annotations

import queue
import socket
from contextlib import closing
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.errors import SUCCESS, PeerError

AE_TITLE = "DEMOPACS"
LOOPBACK = "127.0.0.1"
_TAKEN = (
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    SecondaryCaptureImageStorage,
)


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class StandInPacs:
    """A storage SCP and SCU; use it as a context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: queue.Queue[Dataset] = queue.Queue()
        self._ae = AE(AE_TITLE)
        for uid in (Verification, *_TAKEN):
            self._ae.add_supported_context(uid)

    def __enter__(self) -> Self:
        self._ae.start_server(
            (LOOPBACK, self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._on_c_store)],
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ae.shutdown()

    def send(self, ds: Dataset, ae_title: str, port: int) -> int:
        """Send one object to a node on loopback and return the C-STORE status.

        Raises
        ------
        PeerError
            There is no association, or no answer.
        """
        context = build_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
        assoc = AE(AE_TITLE).associate(LOOPBACK, port, contexts=[context], ae_title=ae_title)
        if not assoc.is_established:
            raise PeerError("the node did not take the association")
        if not assoc.accepted_contexts:
            assoc.release()
            raise PeerError("the node does not take this class or encoding of film")
        status = assoc.send_c_store(ds)
        assoc.release()
        if "Status" not in status:
            raise PeerError("the node did not answer")
        return int(status.Status)

    def _on_c_store(self, event: Event) -> int:
        """Keep an object (PS3.4 annex B)."""
        ds = event.dataset
        ds.file_meta = event.file_meta
        self.received.put(ds)
        return SUCCESS
