"""What brings things to a destination, whichever protocol it speaks: one port for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from node.records import Delivery, DeliveryStatus


@dataclass(frozen=True)
class Parcel:
    """One thing that is due at a destination, read from the spool."""

    item: Delivery
    content: bytes
    """The file as it was made."""
    ds: Dataset | None
    """The same, read; None where it is no DICOM object."""


@dataclass(frozen=True)
class Reply:
    """What a destination made of a parcel.

    SENT: it has it. PENDING: it is to be tried again. PARKED: trying again would not help.
    The reason is kept in the ledger and logged: it holds codes, never what the other side wrote.
    """

    status: DeliveryStatus
    reason: str = ""
    code: int | None = None
    wants_basic_text: bool = False
    """It takes no Enhanced SR but Basic Text SR: it is to be sent the report as such."""


class Carrier(Protocol):
    """A way to one destination."""

    def carry(self, parcels: Sequence[Parcel]) -> Iterator[Reply]:
        """Bring parcels there over one connection.

        Yields
        ------
        Reply
            For each parcel in turn.

        Raises
        ------
        PeerError
            There is no connection, or it was lost before the next parcel.
        """
        ...

    def probe(self) -> str:
        """Try the destination without leaving anything there; return what it answered.

        Raises
        ------
        PeerError
            It cannot be reached, or is not what it is said to be.
        """
        ...
