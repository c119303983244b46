"""MLLP: an HL7 message and its acknowledgement, framed by bytes (HL7 2.5.1 appendix C)."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from node.carrier import Parcel, Reply
from node.config_outputs import Hl7Settings
from node.errors import PeerError
from node.records import DeliveryStatus

START, END = b"\x0b", b"\x1c\r"
_MAX_ANSWER_BYTES: Final = 65_536
_PIECE_BYTES: Final = 4096

_CONSEQUENCES: Final = {
    "AA": DeliveryStatus.SENT,
    "CA": DeliveryStatus.SENT,
    "AE": DeliveryStatus.PENDING,
    "CE": DeliveryStatus.PENDING,
    "AR": DeliveryStatus.PARKED,
    "CR": DeliveryStatus.PARKED,
}
"""MSA-1 (table 0008): accepted, an error that may pass, refused."""


class MllpCarrier:
    """Sends messages to an HL7 receiver, each over a connection of its own: many hang up after one.

    Parameters
    ----------
    settings
        The `outputs.hl7` section; its host is set.
    """

    def __init__(self, settings: Hl7Settings) -> None:
        self._settings = settings
        self._place = f"{settings.host}:{settings.port}"

    def carry(self, parcels: Sequence[Parcel]) -> Iterator[Reply]:
        """Send messages; see `Carrier.carry`."""
        for parcel in parcels:
            with closing(self._connect()) as sock:
                answer = self._exchange(sock, parcel.content)
            yield read_acknowledgement(answer, control_id_of(parcel.content))

    def probe(self) -> str:
        """Connect, and say nothing: an empty message would be one; see `Carrier.probe`."""
        self._connect().close()
        return f"{self._place} takes connections"

    def _connect(self) -> socket.socket:
        address = (self._settings.host or "", self._settings.port)
        try:
            return socket.create_connection(address, self._settings.timeout_s)
        except OSError as error:
            raise PeerError(f"cannot connect to {self._place}") from error

    def _exchange(self, sock: socket.socket, message: bytes) -> bytes:
        """Send one message; return what is answered, without its frame."""
        deadline = time.monotonic() + self._settings.timeout_s
        received = b""
        try:
            sock.sendall(START + message + END)
            while END not in received:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                piece = sock.recv(_PIECE_BYTES)
                received += piece
                if not piece or len(received) > _MAX_ANSWER_BYTES:
                    raise PeerError(f"{self._place} closed or talks on without an acknowledgement")
        except TimeoutError as error:
            raise PeerError(f"{self._place} did not acknowledge in time") from error
        except OSError as error:
            raise PeerError(f"the connection to {self._place} was lost") from error
        return received.partition(END)[0].rpartition(START)[2]


def control_id_of(message: bytes) -> str:
    """Return MSH-10."""
    fields = message.split(b"\r", 1)[0].split(b"|")
    return fields[9].decode("ascii", "replace") if len(fields) > 9 else ""


def read_acknowledgement(answer: bytes, control_id: str) -> Reply:
    """Return the consequence of an answer; the text of MSA-3 and ERR may name a patient.

    An answer to another message, or none at all, proves nothing: the message is sent again, and
    its control ID tells the receiver that it is the same one.
    """
    msa = re.search(rb"(?:^|[\r\n])MSA\|([^|\r\n]*)(?:\|([^|\r\n]*))?", answer)
    if msa is None:
        return Reply(DeliveryStatus.PENDING, "the answer is no acknowledgement")
    code, acknowledged = (part.decode("ascii", "replace") for part in (msa[1], msa[2] or b""))
    status = _CONSEQUENCES.get(code)
    if status is None:
        return Reply(DeliveryStatus.PENDING, "the acknowledgement has an unknown code")
    if acknowledged != control_id:
        return Reply(DeliveryStatus.PENDING, f"{code} for another message")
    return Reply(status, "" if status is DeliveryStatus.SENT else f"acknowledged {code}")
