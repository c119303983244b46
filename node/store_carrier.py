"""C-STORE: the way to a DICOM peer (PS3.4 annex B)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.uid import BasicTextSRStorage, EnhancedSRStorage

from node.carrier import Parcel, Reply
from node.config import PeerSettings
from node.records import DeliveryStatus
from node.scu import NotTaken, Scu
from node.store_statuses import reply_to


class StoreCarrier:
    """Sends objects to a peer over one association.

    Parameters
    ----------
    peer
        Where it is and what it is called.
    scu
        Calls it under our AE title.
    """

    def __init__(self, peer: PeerSettings, scu: Scu) -> None:
        self._peer = peer
        self._scu = scu

    def carry(self, parcels: Sequence[Parcel]) -> Iterator[Reply]:
        """Send objects; see `Carrier.carry`."""
        objects = [parcel.ds for parcel in parcels if parcel.ds is not None]
        classes = [str(ds.SOPClassUID) for ds in objects]
        if EnhancedSRStorage in classes:
            classes.append(BasicTextSRStorage)
        for status in self._scu.store(self._peer, objects, classes):
            if isinstance(status, int):
                yield reply_to(status)
            elif isinstance(status, NotTaken):
                yield _reply_to_not_taken(status)
            else:
                yield Reply(DeliveryStatus.PENDING, status)

    def probe(self) -> str:
        """Verify the peer by C-ECHO; see `Carrier.probe`."""
        return f"answered in {self._scu.echo(self._peer):.0f} ms"


def _reply_to_not_taken(answer: NotTaken) -> Reply:
    """Return what follows where a peer does not take a class."""
    is_report = answer.sop_class_uid == EnhancedSRStorage
    wants_basic_text = is_report and BasicTextSRStorage in answer.accepted
    return Reply(DeliveryStatus.PENDING, answer.reason, wants_basic_text=wants_basic_text)
