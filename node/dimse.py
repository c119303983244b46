"""DIMSE command sets, to and from bytes (PS3.7 sections 6.3 and 9.3, annex E). Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from node.errors import ProtocolFault
from node.pdu import Reason
from node.services import Operation


class CommandField(IntEnum):
    """The requests that the node understands (PS3.7 table E.1-1)."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    C_CANCEL = 0x0FFF


OPERATIONS: Mapping[int, Operation] = {
    CommandField.N_EVENT_REPORT: Operation.EVENT_REPORT,
    CommandField.N_SET: Operation.SET,
    CommandField.N_ACTION: Operation.ACTION,
    CommandField.N_CREATE: Operation.CREATE,
}
MAX_COMMAND_BYTES = 16_384

_ANSWER = 0x8000
_NO_DATA_SET = 0x0101
_GROUP_LENGTH, _AFFECTED_CLASS, _REQUESTED_CLASS, _FIELD = 0x0000, 0x0002, 0x0003, 0x0100
_MESSAGE_ID, _ANSWERED_ID, _DATA_SET_TYPE = 0x0110, 0x0120, 0x0800
_STATUS, _COMMENT, _AFFECTED_INSTANCE, _REQUESTED_INSTANCE = 0x0900, 0x0902, 0x1000, 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_ELEMENT = struct.Struct("<HHL")
_SHORT = struct.Struct("<H")


@dataclass(frozen=True)
class CommandSet:
    """A request, as far as the node needs it."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    type_id: int | None = None
    """Event Type ID or Action Type ID."""

    @property
    def is_answer(self) -> bool:
        """Tell whether it is a response instead."""
        return bool(self.field & _ANSWER)


def _broken(what: str) -> ProtocolFault:
    return ProtocolFault(f"a command is broken: {what}", Reason.INVALID_PARAMETER)


def _elements(encoded: bytes) -> dict[int, bytes]:
    """Return the values of a command set by element number (Implicit VR Little Endian)."""
    at, values = 0, {}
    while at < len(encoded):
        if at + _ELEMENT.size > len(encoded):
            raise _broken("it ends inside an element header")
        group, number, length = _ELEMENT.unpack_from(encoded, at)
        at += _ELEMENT.size
        if group or at + length > len(encoded):
            raise _broken("an element is not of group 0000, or ends after it")
        values[number] = encoded[at : at + length]
        at += length
    return values


def _number(values: Mapping[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    if len(value) not in (0, 2):
        raise _broken("a number has not two bytes")
    return int(_SHORT.unpack(value)[0]) if value else None


def _uid(values: Mapping[int, bytes], *elements: int) -> str:
    value = next((values[element] for element in elements if element in values), b"")
    return value.decode("ascii", "replace").rstrip("\0 ")


def decode_command(encoded: bytes) -> CommandSet:
    """Decode a command set.

    Raises
    ------
    ProtocolFault
        It is not well formed, or lacks what every request has.
    """
    values = _elements(encoded)
    kind, message_id = _number(values, _FIELD), _number(values, _MESSAGE_ID)
    if kind is None:
        raise _broken("it has no command field")
    event_type, action_type = _number(values, _EVENT_TYPE), _number(values, _ACTION_TYPE)
    return CommandSet(
        field=kind,
        message_id=message_id or 0,
        sop_class_uid=_uid(values, _AFFECTED_CLASS, _REQUESTED_CLASS),
        sop_instance_uid=_uid(values, _AFFECTED_INSTANCE, _REQUESTED_INSTANCE),
        has_data_set=_number(values, _DATA_SET_TYPE) not in (None, _NO_DATA_SET),
        type_id=action_type if event_type is None else event_type,
    )


def encode_answer(
    request: CommandSet, status: int, comment: str = "", sop_instance_uid: str = ""
) -> bytes:
    """Encode the response to a request, without a data set.

    Parameters
    ----------
    comment
        Error Comment, cut to what its VR holds (LO, 64 characters).
    sop_instance_uid
        The affected instance, where it is another than the request's.
    """
    instance_uid = sop_instance_uid or request.sop_instance_uid
    values = {
        _AFFECTED_CLASS: _even(request.sop_class_uid.encode("ascii", "replace"), b"\0"),
        _FIELD: _SHORT.pack((request.field | _ANSWER) & 0xFFFF),
        _ANSWERED_ID: _SHORT.pack(request.message_id),
        _DATA_SET_TYPE: _SHORT.pack(_NO_DATA_SET),
        _STATUS: _SHORT.pack(status),
    }
    if comment:
        values[_COMMENT] = _even(comment[:64].encode("ascii", "replace"), b" ")
    if instance_uid:
        values[_AFFECTED_INSTANCE] = _even(instance_uid.encode("ascii", "replace"), b"\0")
    elements = b"".join(
        _ELEMENT.pack(0, number, len(value)) + value for number, value in sorted(values.items())
    )
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(elements)) + elements


def _even(value: bytes, padding: bytes) -> bytes:
    return value if len(value) % 2 == 0 else value + padding
