"""What a person may do with a study: draft it again, send it again, hurry it, give it up.

Every operation is one transaction, is noted in the study's timeline with who asked for it, and may
be done while nodes work on the same ledger or while none does.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from node.errors import NodeError
from node.ledger import Ledger
from node.outbox import is_delivery, settle_study
from node.records import DeliveryStatus, Stage
from node.schema import commitment, delivery, output, study
from node.studies import ENDED, ROUTINE, STAT, State
from node.transactions import is_generation, known_generation, move, note, writing


class OperationRefused(NodeError):
    """The study is not in a state for that."""


class Operations:
    """Operations on the studies of a ledger.

    Parameters
    ----------
    give_up_after_s
        Seconds that a delivery which is put back has from then on.
    """

    def __init__(self, engine: Engine, give_up_after_s: float) -> None:
        self._engine = engine
        self._ledger = Ledger(engine)
        self._give_up_after_s = give_up_after_s

    def retry(self, study_uid: str, by: str, now: float) -> str:
        """Take up again what failed, deliveries or the draft itself; say what that is.

        Raises
        ------
        OperationRefused
            Nothing failed.
        """
        with writing(self._engine) as connection:
            latest = known_generation(connection, study_uid)
            if State(latest.state) not in (State.FAILED, State.SKIPPED):
                hint = "`resend` sends again what arrived, `redraft` drafts anew"
                reason = f"nothing of the study failed: it is {latest.state}"
                raise OperationRefused(reason, hint=hint)
            count = self._put_back(
                connection, latest, by, now, delivery.c.status == DeliveryStatus.PARKED
            )
        if count:
            return f"{count} deliveries are tried again"
        return f"generation {self.redraft(study_uid, by, now)} is ready to be drafted"

    def redraft(self, study_uid: str, by: str, now: float) -> int:
        """Start a new generation from the images at hand; return its number.

        Raises
        ------
        UnknownName
            There is no such study, or it is being worked on.
        """
        return self._ledger.replay(study_uid, now, by)

    def resend(self, study_uid: str, by: str, now: float, destination: str | None = None) -> int:
        """Send the newest draft's objects again, to all their destinations or one; count them.

        Raises
        ------
        OperationRefused
            The newest generation has sent nothing there.
        """
        with writing(self._engine) as connection:
            latest = known_generation(connection, study_uid)
            wanted = delivery.c.status != DeliveryStatus.PENDING
            if destination is not None:
                wanted &= delivery.c.destination == destination
            count = self._put_back(connection, latest, by, now, wanted)
            if not count:
                where = f" to {destination}" if destination else ""
                hint = "`cxr-node status STUDY` shows what went where"
                reason = f"the newest draft has nothing to send again{where}"
                raise OperationRefused(reason, hint=hint)
        return count

    def _put_back(
        self,
        connection: Connection,
        latest: Row[Any],
        by: str,
        now: float,
        wanted: sa.ColumnElement[bool],
    ) -> int:
        """Make deliveries of a generation due once more."""
        place = (str(latest.study_uid), int(latest.generation))
        rows = connection.execute(
            sa.select(delivery.c.sop_instance_uid, delivery.c.destination)
            .join_from(delivery, output)
            .where(output.c.study_uid == place[0], output.c.generation == place[1], wanted)
        ).all()
        for row in rows:
            self._renew(connection, row.sop_instance_uid, row.destination, now)
        if rows:
            names = ", ".join(sorted({row.destination for row in rows}))
            note(connection, *place, Stage("put back", now, f"by {by}: {names}"))
            if State(latest.state) in ENDED:
                move(connection, *place, State.DELIVERING, reason="")
        return len(rows)

    def _renew(
        self, connection: Connection, sop_instance_uid: str, destination: str, now: float
    ) -> None:
        """Make one delivery due as if it had never been tried."""
        connection.execute(
            commitment.delete().where(
                commitment.c.sop_instance_uid == sop_instance_uid,
                commitment.c.destination == destination,
            )
        )
        connection.execute(
            delivery.update()
            .where(is_delivery(sop_instance_uid, destination))
            .values(
                status=DeliveryStatus.PENDING,
                attempts=0,
                reason="",
                next_at=now,
                deadline_at=now + self._give_up_after_s,
            )
        )

    def prioritise(self, study_uid: str, by: str, now: float, *, stat: bool = True) -> None:
        """Let a study go before all others, or take its turn again.

        Raises
        ------
        OperationRefused
            It has ended: nothing of it waits.
        """
        with writing(self._engine) as connection:
            latest = known_generation(connection, study_uid)
            if State(latest.state) in ENDED:
                raise OperationRefused(f"nothing of the study waits: it is {latest.state}")
            place = (study_uid, latest.generation)
            connection.execute(
                study.update()
                .where(is_generation(*place))
                .values(priority=STAT if stat else ROUTINE)
            )
            note(connection, *place, Stage("stat" if stat else "routine", now, f"by {by}"))

    def cancel(self, study_uid: str, by: str, now: float) -> State:
        """Give the newest generation up; return what it ends as.

        What was sent stays where it is. An image that comes later starts a new generation.

        Raises
        ------
        OperationRefused
            It has ended already.
        """
        reason = f"cancelled by {by}"
        with writing(self._engine) as connection:
            latest = known_generation(connection, study_uid)
            place, state = (study_uid, int(latest.generation)), State(latest.state)
            if state in ENDED:
                raise OperationRefused(f"there is nothing to cancel: the study is {state}")
            if state in (State.DRAFTED, State.DELIVERING):
                _park_all(connection, *place, reason)
                settle_study(connection, *place, now)
            else:
                move(
                    connection,
                    *place,
                    State.SKIPPED,
                    reason=reason,
                    lease_owner=None,
                    lease_until=None,
                )
                note(connection, *place, Stage("skipped", now, reason))
            return State(known_generation(connection, study_uid).state)


def _park_all(connection: Connection, study_uid: str, generation: int, reason: str) -> None:
    """Park what is still to be sent of a generation; nobody waits for commitments any more."""
    made = sa.select(output.c.sop_instance_uid).where(
        output.c.study_uid == study_uid, output.c.generation == generation
    )
    connection.execute(
        delivery.update()
        .where(
            delivery.c.sop_instance_uid.in_(made),
            delivery.c.status == DeliveryStatus.PENDING,
        )
        .values(status=DeliveryStatus.PARKED, reason=reason)
    )
    connection.execute(commitment.delete().where(commitment.c.sop_instance_uid.in_(made)))
