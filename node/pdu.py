"""The protocol data units of the DICOM Upper Layer, to and from bytes (PS3.8 section 9.3). Pure.

Everything that comes in is bounded before it is looked at: the caller checks a PDU's declared
length against `MAX_LENGTHS`, and no item may point outside the PDU that holds it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from node.errors import ProtocolFault


class PduType(IntEnum):
    """PDU types (PS3.8 table 9-1)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class Reason(IntEnum):
    """Reasons of an abort by the service provider (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


MAX_LENGTHS: Mapping[PduType, int] = {
    PduType.ASSOCIATE_RQ: 65_536,
    PduType.ASSOCIATE_AC: 65_536,
    PduType.ASSOCIATE_RJ: 4,
    PduType.RELEASE_RQ: 4,
    PduType.RELEASE_RP: 4,
    PduType.ABORT: 4,
}
"""Largest bodies of the PDUs other than P-DATA-TF, in bytes."""
MAX_CONTEXTS = 128
"""Presentation context IDs are odd and fit a byte."""
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
HEADER = struct.Struct(">BxL")
"""PDU type and length of what follows."""
PDV_HEADER = struct.Struct(">LBB")
"""Length of what follows the length, presentation context, message control header."""
IS_COMMAND, IS_LAST = 0x01, 0x02
"""Bits of the message control header (PS3.8 annex E.2)."""

_ITEM = struct.Struct(">BxH")
_REQUEST = struct.Struct(">HH16s16s32s")
_APPLICATION, _ANSWERED = 0x10, 0x21
_ABSTRACT, _TRANSFER, _USER = 0x30, 0x40, 0x50
_MAX_LENGTH, _CLASS_UID, _ROLE, _VERSION = 0x51, 0x52, 0x54, 0x55


@dataclass(frozen=True)
class Role:
    """Which sides of a SOP class the caller wants to play (PS3.7 annex D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True)
class ProposedContext:
    """A presentation context as it was proposed."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ, decoded."""

    called_aet: str
    calling_aet: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int = 0
    """Largest P-DATA-TF that the caller takes; 0 means any."""
    roles: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True)
class AnsweredContext:
    """A presentation context as it is answered (PS3.8 table 9-18)."""

    context_id: int
    result: int
    """0 accepted, 3 abstract syntax not supported, 4 transfer syntaxes not supported."""
    transfer_syntax: str
    abstract_syntax: str = ""

    @property
    def is_accepted(self) -> bool:
        """Tell whether messages may go over it."""
        return self.result == 0


def _broken(what: str) -> ProtocolFault:
    return ProtocolFault(f"the association request is broken: {what}", Reason.INVALID_PARAMETER)


def _items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each item of a PDU or of an item."""
    at = 0
    while at < len(body):
        if at + _ITEM.size > len(body):
            raise _broken("it ends inside an item header")
        kind, length = _ITEM.unpack_from(body, at)
        at += _ITEM.size
        if at + length > len(body):
            raise _broken("an item is longer than what holds it")
        yield kind, body[at : at + length]
        at += length


def _uid(content: memoryview) -> str:
    """Return a UID as it stands, without the padding that some peers add."""
    return bytes(content).decode("ascii", "replace").rstrip("\0 ")


def _title(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip(" \0")


def decode_request(body: memoryview) -> AssociateRequest:
    """Decode the body of an A-ASSOCIATE-RQ (PS3.8 section 9.3.2).

    Raises
    ------
    ProtocolFault
        It is not well formed.
    """
    if len(body) < _REQUEST.size:
        raise _broken("it ends inside the fixed fields")
    version, _, called, calling, _ = _REQUEST.unpack_from(body)
    if not version & 1:
        raise _broken("protocol version 1 is not among those it speaks")
    application, contexts, max_pdu_bytes = "", [], 0
    roles: dict[str, Role] = {}
    for kind, content in _items(body[_REQUEST.size :]):
        match kind:
            case 0x10:
                application = _uid(content)
            case 0x20:
                contexts.append(_proposed(content))
            case 0x50:
                max_pdu_bytes, roles = _user(content)
    _check_contexts(contexts)
    return AssociateRequest(
        _title(called),
        _title(calling),
        application,
        tuple(contexts),
        max_pdu_bytes,
        roles,
    )


def _proposed(content: memoryview) -> ProposedContext:
    if len(content) < 4:
        raise _broken("a presentation context ends early")
    parts = list(_items(content[4:]))
    abstract = [_uid(part) for kind, part in parts if kind == _ABSTRACT]
    transfer = tuple(_uid(part) for kind, part in parts if kind == _TRANSFER)
    if len(abstract) != 1 or not transfer:
        raise _broken("a presentation context lacks its syntaxes")
    return ProposedContext(content[0], abstract[0], transfer)


def _check_contexts(contexts: Sequence[ProposedContext]) -> None:
    ids = [context.context_id for context in contexts]
    if not ids:
        raise _broken("it proposes no presentation context")
    if len(ids) > MAX_CONTEXTS or len(set(ids)) != len(ids) or not all(one % 2 for one in ids):
        raise _broken("its presentation context IDs are not odd and different")


def _user(content: memoryview) -> tuple[int, dict[str, Role]]:
    """Return the user information that counts: how long PDUs may be, and roles (PS3.7 annex D)."""
    max_pdu_bytes, roles = 0, {}
    for kind, part in _items(content):
        if kind == _MAX_LENGTH and len(part) == 4:
            (max_pdu_bytes,) = struct.unpack(">L", part)
        elif kind == _ROLE:
            sop_class_uid, role = _role(part)
            roles[sop_class_uid] = role
    return max_pdu_bytes, roles


def _role(part: memoryview) -> tuple[str, Role]:
    length = struct.unpack_from(">H", part)[0] if len(part) >= 2 else 0
    if len(part) != length + 4:
        raise _broken("a role selection has the wrong length")
    return _uid(part[2 : 2 + length]), Role(bool(part[-2]), bool(part[-1]))


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _pdu(kind: PduType, body: bytes) -> bytes:
    return HEADER.pack(kind, len(body)) + body


def encode_accept(
    request: AssociateRequest,
    contexts: Sequence[AnsweredContext],
    roles: Mapping[str, Role],
    *,
    max_pdu_bytes: int,
    class_uid: str,
    version: str,
) -> bytes:
    """Encode an A-ASSOCIATE-AC (PS3.8 section 9.3.3).

    Parameters
    ----------
    roles
        The answers to the roles that were asked for.
    max_pdu_bytes
        Largest P-DATA-TF that we take.
    class_uid, version
        Our implementation (PS3.7 annex D.3.3.2).
    """
    fixed = _REQUEST.pack(1, 0, *map(_padded, (request.called_aet, request.calling_aet)), b"")
    answered = [
        _item(_ANSWERED, bytes((one.context_id, 0, one.result, 0)) + _transfer(one))
        for one in contexts
    ]
    user = [
        _item(_MAX_LENGTH, struct.pack(">L", max_pdu_bytes)),
        _item(_CLASS_UID, class_uid.encode()),
        *(_item(_ROLE, _encode_role(uid, role)) for uid, role in roles.items()),
        _item(_VERSION, version.encode()),
    ]
    body = [fixed, _item(_APPLICATION, APPLICATION_CONTEXT.encode()), *answered]
    return _pdu(PduType.ASSOCIATE_AC, b"".join([*body, _item(_USER, b"".join(user))]))


def _padded(title: str) -> bytes:
    return title.encode("ascii", "replace").ljust(16)


def _transfer(context: AnsweredContext) -> bytes:
    return _item(_TRANSFER, context.transfer_syntax.encode("ascii", "replace"))


def _encode_role(sop_class_uid: str, role: Role) -> bytes:
    uid = sop_class_uid.encode("ascii", "replace")
    return struct.pack(">H", len(uid)) + uid + bytes((role.scu, role.scp))


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
    return _pdu(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason)))


def encode_release_answer() -> bytes:
    """Encode an A-RELEASE-RP (PS3.8 section 9.3.7)."""
    return _pdu(PduType.RELEASE_RP, bytes(4))


def encode_abort(reason: Reason) -> bytes:
    """Encode an A-ABORT by the service provider (PS3.8 section 9.3.8)."""
    return _pdu(PduType.ABORT, bytes((0, 0, 2, reason)))


def encode_message(
    context_id: int, command: bytes, encoded: bytes = b"", *, max_pdu_bytes: int = 0
) -> bytes:
    """Encode a DIMSE message as P-DATA-TF, in fragments that the peer takes (PS3.8 annex E)."""
    room = max((max_pdu_bytes or 65_536) - PDV_HEADER.size, 1)
    parts = [(IS_COMMAND, command), *([(0, encoded)] if encoded else [])]
    return b"".join(
        _pdu(
            PduType.P_DATA,
            PDV_HEADER.pack(
                len(fragment) + 2, context_id, kind | (IS_LAST if at + room >= len(part) else 0)
            )
            + fragment,
        )
        for kind, part in parts
        for at in range(0, len(part), room)
        for fragment in [part[at : at + room]]
    )
