"""What the node offers to peers beside C-ECHO and C-STORE: each SOP class with its right."""

from __future__ import annotations

from collections.abc import Callable

from node.announced import IAN_CLASS, MPPS_CLASS
from node.announcements import Announcements
from node.commitment import SOP_CLASS as STORAGE_COMMITMENT
from node.committer import Committer
from node.custodian import Custodian
from node.services import Answer, Operation, Request, Service


def services_of(
    committer: Committer, custodian: Custodian, announcements: Announcements
) -> tuple[Service, ...]:
    """Return the services, in no particular order."""
    commitment: dict[Operation, Callable[[Request], Answer]] = {
        Operation.ACTION: custodian.on_action,
        Operation.EVENT_REPORT: committer.on_event_report,
    }
    return (
        Service(
            STORAGE_COMMITMENT,
            "commitment",
            frozenset(commitment),
            lambda request: commitment[request.operation](request),
        ),
        Service(
            MPPS_CLASS,
            "mpps",
            frozenset({Operation.CREATE, Operation.SET}),
            announcements.on_mpps,
        ),
        Service(IAN_CLASS, "ian", frozenset({Operation.CREATE}), announcements.on_ian),
    )
