"""Upper Layer and DIMSE by the byte: what pynetdicom writes is read, what is broken is refused."""

from __future__ import annotations

import struct
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import build_context

from node.dimse import CommandField, CommandSet, decode_command, encode_answer
from node.errors import ProtocolFault
from node.negotiation import answer_contexts, answer_roles, offers_of
from node.pdu import (
    AnsweredContext,
    AssociateRequest,
    ProposedContext,
    Role,
    decode_request,
    encode_accept,
    encode_message,
)
from node.sop_classes import IMAGE_CLASSES, VERIFICATION
from tests import wire

CR = wire.CR
COMMITMENT = "1.2.840.10008.1.20.1"


def _request_of_pynetdicom() -> bytes:
    """Return the body of an A-ASSOCIATE-RQ with two contexts and a role."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = "PACS", "CXRDRAFT"
    contexts = [build_context(CR), build_context(VERIFICATION, "1.2.840.10008.1.2")]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    longest = MaximumLengthNotification()
    longest.maximum_length_received = 16_382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3")
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = UID(COMMITMENT), False, True
    primitive.user_information = [longest, implementation, role]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())[6:]


def test_a_request_of_pynetdicom_is_read() -> None:
    request = decode_request(memoryview(_request_of_pynetdicom()))
    assert (request.calling_aet, request.called_aet) == ("PACS", "CXRDRAFT")
    assert [context.abstract_syntax for context in request.contexts] == [CR, VERIFICATION]
    assert request.contexts[1].transfer_syntaxes == ("1.2.840.10008.1.2",)
    assert request.max_pdu_bytes == 16_382
    assert request.roles == {COMMITMENT: Role(scu=False, scp=True)}


def test_pynetdicom_reads_our_answer() -> None:
    request = decode_request(memoryview(_request_of_pynetdicom()))
    contexts = answer_contexts(request, offers_of(()).to(("echo", "store")))
    encoded = encode_accept(
        request,
        contexts,
        answer_roles(request, {COMMITMENT}),
        max_pdu_bytes=131_072,
        class_uid="1.2.3",
        version="CXR",
    )
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encoded)
    primitive = pdu.to_primitive()
    assert [one.result for one in primitive.presentation_context_definition_results_list] == [0, 0]
    assert primitive.maximum_length_received == 131_072
    roles = [
        (item.sop_class_uid, item.scu_role, item.scp_role)
        for item in primitive.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    ]
    assert roles == [(COMMITMENT, False, True)]


def test_a_right_that_is_not_held_gets_no_context() -> None:
    request = AssociateRequest(
        "A",
        "B",
        "",
        (ProposedContext(1, CR, ("1.2.840.10008.1.2",)),),
        roles={CR: Role(True, True)},
    )
    (answered,) = answer_contexts(request, offers_of(()).to(("echo",)))
    assert answered.result == 3
    assert answer_roles(request, ()) == {}


def test_of_several_transfer_syntaxes_the_first_that_we_take_counts() -> None:
    syntaxes = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2")
    request = AssociateRequest("A", "B", "", (ProposedContext(3, CR, syntaxes),))
    (answered,) = answer_contexts(request, offers_of(()).to(("store",)))
    assert answered == AnsweredContext(3, 0, "1.2.840.10008.1.2.5", CR)
    assert CR in IMAGE_CLASSES


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "fixed fields"),
        (struct.pack(">HH16s16s32x", 2, 0, b"A", b"B"), "protocol version"),
        (struct.pack(">HH16s16s32x", 1, 0, b"A", b"B"), "no presentation context"),
        (wire.request("A", "B", [CR] * 129)[6:], "odd and different"),
        (wire.request("A", "B")[6:-1], "longer than what holds it"),
        (
            struct.pack(">HH16s16s32x", 1, 0, b"A", b"B")
            + wire.item(0x20, b"\1\0\0\0" + wire.item(0x30, b"1.2")),
            "lacks its syntaxes",
        ),
        (
            struct.pack(">HH16s16s32x", 1, 0, b"A", b"B")
            + wire.item(0x50, wire.item(0x54, b"\0\7abc")),
            "role selection",
        ),
    ],
)
def test_a_broken_request_is_refused_with_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(ProtocolFault, match=reason):
        decode_request(memoryview(body))


@settings(max_examples=500, deadline=None)
@given(at=st.integers(0, 400), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_a_tampered_request_is_read_or_refused(at: int, value: int, cut: int) -> None:
    body = bytearray(_request_of_pynetdicom())
    body[at % len(body)] = value
    with suppress(ProtocolFault):
        decode_request(memoryview(body[: len(body) - cut % 3]))


def test_a_command_of_pynetdicom_is_read_and_it_reads_our_answer() -> None:
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CR, "1.2.3"
    primitive.Priority, primitive.DataSet = 0, BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    _, encoded = next(message.encode_msg(1, 16_382)).presentation_data_value_list[0]
    command = decode_command(encoded[1:])
    assert command == CommandSet(CommandField.C_STORE, 7, CR, "1.2.3", has_data_set=True)
    answer = decode_command(encode_answer(command, 0xA700, "full" * 30))
    assert answer.is_answer
    assert (answer.sop_class_uid, answer.sop_instance_uid) == (CR, "1.2.3")
    assert wire.status_of(encode_answer(command, 0xA700)) == 0xA700


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_a_command_of_random_bytes_is_read_or_refused(encoded: bytes) -> None:
    with suppress(ProtocolFault):
        decode_command(encoded)


@given(
    command=st.binary(min_size=1, max_size=500),
    encoded=st.binary(max_size=500),
    largest=st.integers(7, 300),
)
def test_a_message_is_cut_into_fragments_that_the_peer_takes(
    command: bytes, encoded: bytes, largest: int
) -> None:
    message = encode_message(5, command, encoded, max_pdu_bytes=largest)
    parts, ends, at = {1: b"", 0: b""}, list[int](), 0
    while at < len(message):
        kind, length = struct.unpack_from(">BxL", message, at)
        num_bytes, context_id, control = struct.unpack_from(">LBB", message, at + 6)
        assert (kind, context_id) == (4, 5)
        assert length <= largest
        assert num_bytes == length - 4
        parts[control & 1] += message[at + 12 : at + 6 + length]
        ends += [control & 1] if control & 2 else []
        at += 6 + length
    assert parts == {1: command, 0: encoded}
    assert ends == ([1, 0] if encoded else [1])
