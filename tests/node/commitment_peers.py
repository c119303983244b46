"""A PACS that is asked to commit, and calls to the services of a node."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.presentation import build_role

from node.app import Node
from node.commitment import SOP_CLASS, SOP_INSTANCE, Report, report_to_ds, request_from_ds
from tests.node.conftest import Pacs


class CommittingPacs(Pacs):
    """A PACS that reports over the association of the request, or as it is told.

    `reasons` holds a failure reason for each report in turn; None stands for success.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.classes = [*self.classes, SOP_CLASS]
        self.handlers = [(evt.EVT_N_ACTION, self._on_n_action)]
        self.action_status = 0x0000
        self.reports = True
        self.reasons: list[int | None] = []
        self.requests: list[Dataset] = []
        self.answers: list[int] = []

    def report_on(self, ds: Dataset) -> Report:
        """Return the report on a request: success, or the next failure that was set."""
        transaction = request_from_ds(ds)
        reason = self.reasons.pop(0) if self.reasons else None
        if reason is None:
            return Report(transaction.uid, transaction.references)
        return Report(transaction.uid, failed=dict.fromkeys(transaction.references, reason))

    def _on_n_action(self, event: Event) -> tuple[int, None]:
        self.requests.append(event.action_information)
        if self.reports and self.action_status == 0:
            report = self.report_on(event.action_information)
            threading.Timer(0.05, self._report, [event.assoc, report]).start()
        return self.action_status, None

    def _report(self, assoc: Any, report: Report) -> None:
        self.answers.append(send_report(assoc, report))


def send_report(assoc: Any, report: Report) -> int:
    """Send a report over an association; return the answer's status."""
    status, _ = assoc.send_n_event_report(
        report_to_ds(report), report.event_type, SOP_CLASS, SOP_INSTANCE
    )
    return int(status.get("Status", -1))


@contextmanager
def calling(
    node: Node, sop_class_uid: str, *, title: str = "PACS", is_scp: bool = False
) -> Iterator[Any]:
    """Open an association with a node for one of its services."""
    ae = AE(title)
    ae.add_requested_context(sop_class_uid)
    ae.acse_timeout = ae.dimse_timeout = 10
    settings = node.settings.node
    roles: list[Any] = [build_role(sop_class_uid, scp_role=True)] if is_scp else []
    assoc = ae.associate("127.0.0.1", settings.port, ae_title=settings.ae_title, ext_neg=roles)
    assert assoc.is_established
    try:
        yield assoc
    finally:
        assoc.release()
