"""DIMSE messages as they come off a channel: commands whole, data sets fragment by fragment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.channel import Channel, Patience
from node.dimse import MAX_COMMAND_BYTES, CommandSet, decode_command
from node.errors import PeerAborted, PeerReleased, ProtocolFault
from node.pdu import (
    HEADER,
    IS_COMMAND,
    IS_LAST,
    MAX_LENGTHS,
    PDV_HEADER,
    PduType,
    Reason,
)

_MIB = 1024 * 1024
_MIN_PDU_LIMIT = _MIB


@dataclass(frozen=True)
class _Fragment:
    """The header of one presentation data value; its content is still on the channel."""

    context_id: int
    is_command: bool
    is_last: bool
    num_bytes: int


def read_header(channel: Channel, max_pdu_bytes: int) -> tuple[PduType, int]:
    """Read the header of a PDU and check the length that it declares.

    Raises
    ------
    ProtocolFault
        There is no such PDU, or it is longer than any honest one.
    """
    number, length = HEADER.unpack(channel.take_exactly(HEADER.size))
    if number not in PduType.__members__.values():
        raise ProtocolFault("what came is no DICOM", Reason.UNRECOGNISED_PDU)
    kind = PduType(number)
    if length > MAX_LENGTHS.get(kind, max(max_pdu_bytes, _MIN_PDU_LIMIT)):
        raise ProtocolFault(f"a PDU of {length} bytes is declared", Reason.INVALID_PARAMETER)
    return kind, length


class Messages:
    """What a peer sends over an association that we accepted.

    Parameters
    ----------
    max_pdu_bytes
        Largest P-DATA-TF that we announced.
    max_message_bytes
        Largest message, headers counted.
    between, within
        How long to wait for the next message, and for the rest of one.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        max_pdu_bytes: int,
        max_message_bytes: int,
        between: Patience,
        within: Patience,
    ) -> None:
        self._channel = channel
        self._max_pdu_bytes = max_pdu_bytes
        self._max_message_bytes = max_message_bytes
        self._between = between
        self._within = within
        self._left_in_pdu = 0
        self._num_bytes = 0

    def next_command(self) -> tuple[int, CommandSet]:
        """Wait for the next request; return the presentation context and the command set.

        Raises
        ------
        AssociationEnded
            The peer released or aborted the association, was silent too long, or broke the
            protocol.
        """
        self._num_bytes = 0
        self._channel.expect(self._between)
        fragment = self._fragment(is_between=True)
        context_id, encoded = fragment.context_id, bytearray()
        while True:
            if not fragment.is_command or fragment.context_id != context_id:
                raise ProtocolFault("a data set came without a command", Reason.UNEXPECTED_PDU)
            if len(encoded) + fragment.num_bytes > MAX_COMMAND_BYTES:
                raise ProtocolFault("a command is too long", Reason.INVALID_PARAMETER)
            for piece in self._content(fragment):
                encoded += piece
            if fragment.is_last:
                return context_id, decode_command(bytes(encoded))
            fragment = self._fragment()

    def pieces(self, context_id: int) -> Iterator[memoryview]:
        """Yield the data set of the message whose command came last; each good until the next."""
        is_last = False
        while not is_last:
            fragment = self._fragment()
            if fragment.is_command or fragment.context_id != context_id:
                raise ProtocolFault("a command came inside a data set", Reason.UNEXPECTED_PDU)
            yield from self._content(fragment)
            is_last = fragment.is_last

    def _content(self, fragment: _Fragment) -> Iterator[memoryview]:
        left = fragment.num_bytes
        while left:
            piece = self._channel.take(left)
            left -= len(piece)
            yield piece

    def _fragment(self, *, is_between: bool = False) -> _Fragment:
        """Read up to the content of the next presentation data value."""
        if not self._left_in_pdu:
            self._left_in_pdu = self._next_p_data(is_between=is_between)
        if self._left_in_pdu < PDV_HEADER.size:
            raise ProtocolFault("a P-DATA-TF ends early", Reason.INVALID_PARAMETER)
        length, context_id, control = PDV_HEADER.unpack(self._channel.take_exactly(PDV_HEADER.size))
        if not 2 <= length <= self._left_in_pdu - 4:
            raise ProtocolFault("a fragment is longer than its PDU", Reason.INVALID_PARAMETER)
        self._left_in_pdu -= 4 + length
        self._count(PDV_HEADER.size + length)
        is_command, is_last = bool(control & IS_COMMAND), bool(control & IS_LAST)
        return _Fragment(context_id, is_command, is_last, length - 2)

    def _count(self, num_bytes: int) -> None:
        """Count what a message holds; nothing beyond the limit is read, still less kept."""
        self._num_bytes += num_bytes
        if self._num_bytes > self._max_message_bytes:
            limit = self._max_message_bytes // _MIB
            raise ProtocolFault(f"the object is larger than {limit} MB", Reason.NOT_SPECIFIED)

    def _next_p_data(self, *, is_between: bool) -> int:
        """Read the header of a P-DATA-TF; a release is good between two messages alone."""
        kind, length = read_header(self._channel, self._max_pdu_bytes)
        if is_between:
            self._channel.expect(self._within)
        if kind is PduType.P_DATA:
            self._count(HEADER.size)
            return length
        if kind is PduType.ABORT:
            raise PeerAborted
        if kind is PduType.RELEASE_RQ and is_between:
            self._channel.take_exactly(length)
            raise PeerReleased
        raise ProtocolFault("a PDU came out of turn", Reason.UNEXPECTED_PDU)
