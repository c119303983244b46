"""The node's services put on the wire by pynetdicom: what the listener does, for tests."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event, EventHandlerType

from node.peers import Peer, PeerBook
from node.services import Answer, Operation, Request, Service


class ServiceScp:
    """A listener that offers services to the peers of a book."""

    def __init__(self, services: tuple[Service, ...], book: PeerBook, port: int) -> None:
        self._services = {service.sop_class_uid: service for service in services}
        self._book = book
        self.answers: list[tuple[Operation, Answer]] = []
        ae = AE("CXRDRAFT")
        for uid in self._services:
            ae.add_supported_context(uid, scu_role=True, scp_role=True)
        handlers: list[EventHandlerType] = [
            (evt.EVT_N_ACTION, self._on_n_action),
            (evt.EVT_N_EVENT_REPORT, self._on_n_event_report),
            (evt.EVT_N_CREATE, self._on_n_create),
            (evt.EVT_N_SET, self._on_n_set),
        ]
        self._server: Any = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        self._server.shutdown()

    def _serve(
        self, event: Event, operation: Operation, uid: Any, type_id: int | None, ds: Dataset
    ) -> tuple[Dataset, None]:
        calling = str(event.assoc.requestor.primitive.calling_ae_title).strip()
        peer = self._book.find(calling, "127.0.0.1")
        assert isinstance(peer, Peer)
        service = self._services[str(event.context.abstract_syntax)]
        assert operation in service.operations
        assert service.right in peer.settings.allow
        request = Request(peer, operation, service.sop_class_uid, str(uid or ""), type_id, ds)
        answer = service.serve(request)
        self.answers.append((operation, answer))
        status = Dataset()
        status.Status = answer.status
        if answer.comment:
            status.ErrorComment = answer.comment[:64]
        return status, None

    def _on_n_action(self, event: Event) -> tuple[Dataset, None]:
        uid = event.request.RequestedSOPInstanceUID
        return self._serve(
            event, Operation.ACTION, uid, event.action_type, event.action_information
        )

    def _on_n_event_report(self, event: Event) -> tuple[Dataset, None]:
        uid = event.request.AffectedSOPInstanceUID
        return self._serve(
            event, Operation.EVENT_REPORT, uid, event.event_type, event.event_information
        )

    def _on_n_create(self, event: Event) -> tuple[Dataset, None]:
        uid = event.request.AffectedSOPInstanceUID
        return self._serve(event, Operation.CREATE, uid, None, event.attribute_list)

    def _on_n_set(self, event: Event) -> tuple[Dataset, None]:
        uid = event.request.RequestedSOPInstanceUID
        return self._serve(event, Operation.SET, uid, None, event.modification_list)
