"""One association, from its request to its end, on one thread (PS3.8 section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset

from node import statuses
from node.admission import Admission, Place
from node.channel import Channel, Patience
from node.config import NodeSettings
from node.dimse import (
    OPERATIONS,
    CommandField,
    CommandSet,
    encode_answer,
)
from node.encoded import DatasetWalk
from node.errors import (
    MISMATCH,
    OUT_OF_RESOURCES,
    SUCCESS,
    AssociationEnded,
    IntakeRefused,
    PeerReleased,
    ProtocolFault,
    StorageError,
)
from node.intake import Command, read_header
from node.logs import get_logger, say
from node.messages import Messages
from node.messages import read_header as read_pdu_header
from node.meters import ASSOCIATIONS, ASSOCIATIONS_REFUSED, Meters
from node.negotiation import Offers, answer_contexts, answer_roles
from node.pdu import (
    AnsweredContext,
    AssociateRequest,
    PduType,
    Reason,
    decode_request,
    encode_abort,
    encode_accept,
    encode_message,
    encode_reject,
    encode_release_answer,
)
from node.peers import Refusal
from node.receiver import Receiver
from node.records import Rejection
from node.refusals import Refusals
from node.server import Connection
from node.services import Answer, Operation, Request, Service
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_LOG = get_logger("scp")
_MIB = 1024 * 1024
_MAX_REQUEST_BYTES = 4 * _MIB


@dataclass(frozen=True)
class House:
    """What every association of the node shares."""

    settings: NodeSettings
    admission: Admission
    receiver: Receiver
    refusals: Refusals
    offers: Offers
    services: Mapping[tuple[str, Operation], Service]
    meters: Meters


class Association:
    """The conversation with one caller.

    Parameters
    ----------
    channel
        Reads and writes the connection, past TLS.
    connection
        Marked once its caller is admitted.
    """

    def __init__(self, house: House, channel: Channel, connection: Connection) -> None:
        self._house = house
        self._channel = channel
        self._connection = connection
        self._address = connection.address
        self._calling = ""
        self._contexts: dict[int, AnsweredContext] = {}
        self._peer_pdu_bytes = 0
        self._place: Place | None = None

    def run(self) -> None:
        """Talk until it is over; whatever the caller does ends here."""
        try:
            request = self._read_request()
            if self._answer_request(request):
                self._serve()
        except PeerReleased:
            self._leave()
            self._say_last(encode_release_answer())
        except ProtocolFault as fault:
            self._note("abort", str(fault))
            self._say_last(encode_abort(Reason(fault.abort_reason)))
        except AssociationEnded as ended:
            if self._place is not None:
                self._note("abort", str(ended))
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._place is not None:
            self._house.admission.leave(self._place)

    def _read_request(self) -> AssociateRequest:
        """Wait for the association request; nothing else may come first."""
        settings = self._house.settings
        self._channel.expect(Patience(settings.acse_timeout_s, settings.acse_timeout_s))
        kind, length = read_pdu_header(self._channel, settings.max_pdu)
        if kind is not PduType.ASSOCIATE_RQ:
            raise ProtocolFault("a PDU came out of turn", Reason.UNEXPECTED_PDU)
        return decode_request(memoryview(self._channel.read(length)))

    def _answer_request(self, request: AssociateRequest) -> bool:
        """Accept or reject (PS3.8 sections 9.3.3 and 9.3.4); tell whether it is accepted."""
        self._calling = request.calling_aet
        house = self._house
        place = house.admission.admit(request, self._address, self._connection.sock)
        if isinstance(place, Refusal):
            house.meters.count(ASSOCIATIONS_REFUSED, place.kind)
            self._note("association", place.reason, place.hint)
            self._say_last(encode_reject(*place.code))
            return False
        self._place, self._connection.is_known = place, True
        house.meters.count(ASSOCIATIONS, place.peer.name)
        self._channel.widen()
        answered = answer_contexts(request, house.offers.to(place.peer.settings.allow))
        self._contexts = {one.context_id: one for one in answered if one.is_accepted}
        self._peer_pdu_bytes = request.max_pdu_bytes
        accept = encode_accept(
            request,
            answered,
            answer_roles(request, house.offers.service_classes),
            max_pdu_bytes=house.settings.max_pdu,
            class_uid=IMPLEMENTATION_CLASS_UID,
            version=IMPLEMENTATION_VERSION_NAME,
        )
        self._channel.send(accept, house.settings.acse_timeout_s)
        return True

    def _serve(self) -> None:
        """Answer message after message."""
        settings = self._house.settings
        idle_s, message_s = settings.idle_timeout_s, settings.dimse_timeout_s
        messages = Messages(
            self._channel,
            max_pdu_bytes=settings.max_pdu,
            max_message_bytes=settings.intake.max_object_mb * _MIB,
            between=Patience(idle_s, idle_s),
            within=Patience(message_s, message_s),
        )
        while True:
            context_id, command = messages.next_command()
            context = self._contexts.get(context_id)
            if context is None:
                raise ProtocolFault("a context that was not accepted", Reason.UNEXPECTED_PARAMETER)
            pieces = messages.pieces(context_id) if command.has_data_set else iter(())
            self._answer(command, context, pieces)

    def _answer(
        self, command: CommandSet, context: AnsweredContext, pieces: Iterator[memoryview]
    ) -> None:
        """Answer one request; its data set is read to the end in any case."""
        match command.field:
            case CommandField.C_ECHO:
                answer = self.on_c_echo()
            case CommandField.C_STORE:
                answer = self.on_c_store(command, context, pieces)
            case CommandField.C_CANCEL:
                return
            case kind if kind in OPERATIONS:
                answer = self.on_operation(OPERATIONS[kind], command, context, pieces)
            case _ if command.is_answer:
                raise ProtocolFault("an answer came that nobody asked for", Reason.UNEXPECTED_PDU)
            case _:
                answer = Answer(statuses.UNRECOGNISED_OPERATION, "this operation is not offered")
        for _ in pieces:
            pass
        encoded = encode_answer(command, answer.status, answer.comment, answer.sop_instance_uid)
        message = encode_message(context.context_id, encoded, max_pdu_bytes=self._peer_pdu_bytes)
        self._channel.send(message, self._house.settings.dimse_timeout_s)

    def on_c_echo(self) -> Answer:
        """Answer a verification (PS3.4 annex A)."""
        say(_LOG, "echo.answered", calling=self._calling, address=self._address)
        return Answer(SUCCESS)

    def on_c_store(
        self, request: CommandSet, context: AnsweredContext, pieces: Iterator[memoryview]
    ) -> Answer:
        """Take an image in (PS3.4 annex B): 0x0000 means that it cannot be lost any more."""
        hint = ""
        try:
            status, comment = self._take(request, context, pieces)
        except IntakeRefused as refused:
            status, comment, hint = refused.status, str(refused), refused.hint
        except StorageError as error:
            status, comment, hint = OUT_OF_RESOURCES, str(error), error.hint
        if status != SUCCESS:
            self._note("instance", comment, hint, status)
        return Answer(status, comment)

    def _take(
        self, request: CommandSet, context: AnsweredContext, pieces: Iterator[memoryview]
    ) -> tuple[int, str]:
        """Stream one instance to the receiver."""
        place = self._admitted()
        if request.sop_class_uid != context.abstract_syntax:
            raise IntakeRefused(MISMATCH, "SOPClassUID is not that of the presentation context")
        command = Command(request.sop_class_uid, request.sop_instance_uid, context.transfer_syntax)
        return self._house.receiver.take(
            command,
            pieces,
            place.peer.name,
            place.called_aet,
            lambda study_uid: self._house.admission.carry(place, study_uid),
        )

    def on_operation(
        self,
        operation: Operation,
        command: CommandSet,
        context: AnsweredContext,
        pieces: Iterator[memoryview],
    ) -> Answer:
        """Hand a DIMSE-N request to the service that is offered for it (PS3.7 section 10)."""
        service = self._house.services.get((context.abstract_syntax, operation))
        if service is None:
            return Answer(statuses.UNRECOGNISED_OPERATION, "this operation is not offered")
        if command.sop_class_uid != context.abstract_syntax:
            return Answer(
                statuses.NO_SUCH_CLASS, "SOP class is not that of the presentation context"
            )
        try:
            answer = service.serve(
                Request(
                    self._admitted().peer,
                    operation,
                    command.sop_class_uid,
                    command.sop_instance_uid,
                    command.type_id,
                    _read_data_set(pieces, context.transfer_syntax),
                )
            )
        except (IntakeRefused, StorageError) as error:
            answer = Answer(statuses.PROCESSING_FAILURE, str(error))
        if answer.status != SUCCESS:
            self._note("operation", f"{operation}: {answer.comment}", status=answer.status)
        return answer

    def _admitted(self) -> Place:
        if self._place is None:
            raise ProtocolFault("a message came before the association", Reason.UNEXPECTED_PDU)
        return self._place

    def _say_last(self, encoded: bytes) -> None:
        """Send the last PDU of the association, if the caller still listens."""
        try:
            self._channel.send(encoded, self._house.settings.acse_timeout_s)
        except AssociationEnded:
            return
        self._channel.part()

    def _note(self, kind: str, reason: str, hint: str = "", status: int | None = None) -> None:
        rejection = Rejection(kind, self._calling, self._address, reason, hint)
        self._house.refusals.note(rejection, status)


def _read_data_set(pieces: Iterator[memoryview], transfer_syntax_uid: str) -> Dataset:
    """Read the data set of a request, which is small, whole and not nested without end.

    Raises
    ------
    IntakeRefused
        It is none of these.
    """
    walk, buffer = DatasetWalk.of(transfer_syntax_uid), BytesIO()
    for piece in pieces:
        if buffer.tell() + len(piece) > _MAX_REQUEST_BYTES:
            raise IntakeRefused(
                statuses.PROCESSING_FAILURE, "the data set of the request is too large"
            )
        walk.feed(piece)
        buffer.write(piece)
    walk.finish()
    return read_header(buffer, transfer_syntax_uid)
