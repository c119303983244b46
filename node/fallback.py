"""Reports as Basic Text SR, for the peers that take no Enhanced SR; who they are is remembered."""

from __future__ import annotations

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage
from sqlalchemy.engine import Connection, Engine

from node.made import Made
from node.outbox import is_delivery
from node.outputs import BASIC_TEXT
from node.records import Delivery, DeliveryStatus, Stage, StoredOutput
from node.schema import basic_text, delivery, output
from node.spool import Spool
from node.sr_narrative import as_basic_text
from node.transactions import note, reading, writing

REMEMBERED_S = 7 * 86_400.0
"""After so long a peer is offered Enhanced SR again: it may have been upgraded."""


class Fallback:
    """Replaces deliveries of a report by deliveries of its Basic Text form.

    The form is another object with UIDs derived from the report's, so a replacement that a crash
    cut short is the same when it is repeated.
    """

    def __init__(self, engine: Engine, spool: Spool) -> None:
        self._engine = engine
        self._spool = spool

    def is_due(self, item: Delivery, now: float) -> bool:
        """Tell whether a delivery is of a report that its destination is known not to take."""
        if item.sop_class_uid != EnhancedSRStorage:
            return False
        query = sa.select(basic_text.c.at).where(basic_text.c.destination == item.destination)
        with reading(self._engine) as connection:
            at = connection.execute(query).scalar_one_or_none()
        return at is not None and at > now - REMEMBERED_S

    def learn(self, destination: str, now: float) -> None:
        """Remember that a destination takes Basic Text SR only."""
        with writing(self._engine) as connection:
            known = basic_text.update().where(basic_text.c.destination == destination)
            if not connection.execute(known.values(at=now)).rowcount:
                connection.execute(basic_text.insert().values(destination=destination, at=now))

    def replace(self, item: Delivery, ds: Dataset, now: float) -> None:
        """Send the Basic Text form of a report in its place, at once.

        Raises
        ------
        StorageError
            The disk refused the file.
        LedgerError
            The ledger failed; the delivery is as it was.
        """
        made = Made.of(as_basic_text(ds))
        path, sha256 = self._spool.store_output(made)
        form = StoredOutput(made.uid, made.sop_class_uid, BASIC_TEXT, path, sha256)
        with writing(self._engine) as connection:
            _keep(connection, item, form)
            connection.execute(
                delivery.delete().where(is_delivery(item.sop_instance_uid, item.destination))
            )
            connection.execute(
                delivery.insert().values(
                    sop_instance_uid=form.sop_instance_uid,
                    destination=item.destination,
                    status=DeliveryStatus.PENDING,
                    next_at=now,
                    deadline_at=item.deadline_at,
                )
            )
            detail = f"{item.destination} takes no Enhanced SR"
            note(connection, item.study_uid, item.generation, Stage("basic text", now, detail))


def _keep(connection: Connection, item: Delivery, form: StoredOutput) -> None:
    """Note the Basic Text form; another destination may have wanted it before."""
    same = output.c.sop_instance_uid == form.sop_instance_uid
    if connection.execute(sa.select(output.c.kind).where(same)).first() is None:
        place = {"study_uid": item.study_uid, "generation": item.generation}
        connection.execute(output.insert().values(**place, **vars(form)))
