"""The ledger: the truth about every study, one transaction a step.

What was acknowledged is in here, and what is due is read from here: nothing is kept in memory
that a `kill -9` could lose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.arrivals import Arrivals
from node.errors import UnknownName
from node.records import (
    Arrival,
    Claim,
    DeliveryStatus,
    Finished,
    Recorded,
    Stage,
    StoredInstance,
)
from node.schema import delivery, instance, output, result, study, study_count
from node.studies import OPEN_TO_IMAGES, STAT, Closing, Receiving, State
from node.transactions import is_generation, known_generation, move, note, reading, writing

_MOST_URGENT_FIRST = (study.c.priority.desc(), study.c.ready_at)


class Ledger:
    """Studies and instances: arrival, completion, claims, and what a draft leaves behind."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._arrivals = Arrivals(engine)

    def record_arrival(self, arrival: Arrival, now: float) -> Recorded:
        """Note an instance and its study's last-seen time; the first bytes of a UID are kept."""
        return self._arrivals.record(arrival, now)

    def receiving(self) -> tuple[Receiving, ...]:
        """Return the studies that still receive images."""
        num_patients = (
            sa.select(sa.func.count(sa.distinct(instance.c.patient_digest)))
            .where(instance.c.study_uid == study.c.study_uid)
            .scalar_subquery()
        )
        earlier = study.alias()
        previous_ready_at = (
            sa.select(sa.func.max(earlier.c.ready_at))
            .where(
                earlier.c.study_uid == study.c.study_uid, earlier.c.generation < study.c.generation
            )
            .scalar_subquery()
        )
        query = sa.select(
            study.c.study_uid,
            study.c.generation,
            study.c.first_at,
            study.c.last_at,
            num_patients,
            previous_ready_at,
            study.c.peer,
            study.c.called_aet,
        ).where(study.c.state == State.RECEIVING)
        with reading(self._engine) as connection:
            return tuple(
                Receiving(*row[:6], peer=row.peer, called_aet=row.called_aet)
                for row in connection.execute(query)
            )

    def close(self, closing: Closing, now: float, *, stat: bool = False) -> bool:
        """Move a complete study on, unless an image came in since the rule looked at it.

        Parameters
        ----------
        stat
            Whether it goes before those that wait.
        """
        seen = closing.study
        with writing(self._engine) as connection:
            row = connection.execute(
                sa.select(study.c.state, study.c.last_at).where(
                    is_generation(seen.study_uid, seen.generation)
                )
            ).one()
            if (row.state, row.last_at) != (State.RECEIVING, seen.last_at):
                return False
            ready_at = now if closing.state is State.READY else None
            move(
                connection,
                seen.study_uid,
                seen.generation,
                closing.state,
                reason=closing.reason,
                ready_at=ready_at,
                **({"priority": STAT} if stat else {}),
            )
            stage = Stage(closing.state.lower(), now, closing.reason)
            note(connection, seen.study_uid, seen.generation, stage)
        return True

    def claim(self, owner: str, now: float, *, lease_s: float, max_attempts: int) -> Claim | None:
        """Take the study that has waited longest, STAT ones first, under a lease.

        A study whose worker died (its lease is over) counts as waiting; one that has been
        taken up `max_attempts` times fails instead.
        """
        waiting = sa.or_(
            study.c.state == State.READY,
            sa.and_(study.c.state == State.RUNNING, study.c.lease_until < now),
        )
        with writing(self._engine) as connection:
            row = connection.execute(
                sa.select(study).where(waiting).order_by(*_MOST_URGENT_FIRST).limit(1)
            ).one_or_none()
            if row is None:
                return None
            place = (row.study_uid, row.generation)
            if row.state == State.RUNNING:
                move(connection, *place, State.READY)
            if row.attempts >= max_attempts:
                reason = f"given up after {row.attempts} attempts that did not end"
                move(connection, *place, State.FAILED, reason=reason)
                note(connection, *place, Stage("failed", now, reason))
                return None
            move(
                connection,
                *place,
                State.RUNNING,
                attempts=row.attempts + 1,
                lease_owner=owner,
                lease_until=now + lease_s,
                reason="",
            )
            note(connection, *place, Stage("claimed", now))
            before = self._report_digest(connection, row.study_uid, row.generation - 1)
        return Claim(
            *place,
            row.key,
            row.ready_at,
            row.attempts + 1,
            owner,
            before,
            row.priority >= STAT,
            row.peer,
            row.called_aet,
        )

    def _report_digest(self, connection: Connection, study_uid: str, generation: int) -> str | None:
        """Return the digest of the bundle that made a generation's report, if it has one."""
        content = connection.execute(
            sa.select(result.c.content)
            .join(
                output,
                sa.and_(
                    output.c.study_uid == result.c.study_uid,
                    output.c.generation == result.c.generation,
                    output.c.kind == "report",
                ),
            )
            .where(result.c.study_uid == study_uid, result.c.generation == generation)
        ).scalar_one_or_none()
        return None if content is None else str(content["report"]["bundle_digest"])

    def instances(self, study_uid: str, generation: int) -> tuple[StoredInstance, ...]:
        """Return the images of a study up to a generation, in order of arrival."""
        query = (
            sa.select(
                instance.c.sop_instance_uid,
                instance.c.sop_class_uid,
                instance.c.series_uid,
                instance.c.path,
            )
            .where(instance.c.study_uid == study_uid, instance.c.generation <= generation)
            .order_by(instance.c.received_at, instance.c.sop_instance_uid)
        )
        with reading(self._engine) as connection:
            return tuple(StoredInstance(*row) for row in connection.execute(query))

    def _holds(self, connection: Connection, claim: Claim) -> bool:
        """Tell whether a claim is still good; another worker may have taken the study."""
        row = connection.execute(
            sa.select(study.c.state, study.c.lease_owner, study.c.attempts).where(
                is_generation(claim.study_uid, claim.generation)
            )
        ).one()
        return tuple(row) == (State.RUNNING, claim.owner, claim.attempts)

    def finish(
        self,
        claim: Claim,
        finished: Finished,
        destinations: Mapping[str, Sequence[str]],
        now: float,
        *,
        give_up_after_s: float,
    ) -> bool:
        """Commit a draft: result, outputs and outbox rows together.

        Parameters
        ----------
        destinations
            For each kind of output, the names of the peers that get it.

        Returns
        -------
        bool
            False where the claim was lost; nothing is written then.
        """
        place = (claim.study_uid, claim.generation)
        values = {"study_uid": claim.study_uid, "generation": claim.generation}
        with writing(self._engine) as connection:
            if not self._holds(connection, claim):
                return False
            connection.execute(
                result.insert().values(**values, content=finished.content, finished_at=now)
            )
            num_deliveries = 0
            for made in finished.outputs:
                connection.execute(output.insert().values(**values, **vars(made)))
                for name in destinations.get(made.kind, ()):
                    num_deliveries += 1
                    connection.execute(
                        delivery.insert().values(
                            sop_instance_uid=made.sop_instance_uid,
                            destination=name,
                            status=DeliveryStatus.PENDING,
                            next_at=now,
                            deadline_at=now + give_up_after_s,
                        )
                    )
            move(connection, *place, State.DRAFTED, lease_owner=None, lease_until=None)
            for stage in (*finished.stages, Stage("drafted", now)):
                note(connection, *place, stage)
            if not num_deliveries:
                reason = finished.withheld or "no peer is to receive it"
                move(connection, *place, State.DONE, reason=reason)
                note(connection, *place, Stage("done", now, reason))
        return True

    def end(
        self, claim: Claim, state: State, reason: str, now: float, stages: Sequence[Stage] = ()
    ) -> bool:
        """End a claimed study without a draft: SKIPPED or FAILED, with its reason.

        Parameters
        ----------
        stages
            How far it came.
        """
        with writing(self._engine) as connection:
            if not self._holds(connection, claim):
                return False
            place = (claim.study_uid, claim.generation)
            move(connection, *place, state, reason=reason, lease_owner=None, lease_until=None)
            for stage in (*stages, Stage(state.lower(), now, reason)):
                note(connection, *place, stage)
        return True

    def postpone(self, claim: Claim, reason: str, until: float) -> None:
        """Leave a claimed study until later, without counting the attempt."""
        with writing(self._engine) as connection:
            if self._holds(connection, claim):
                connection.execute(
                    study.update()
                    .where(is_generation(claim.study_uid, claim.generation))
                    .values(lease_until=until, attempts=claim.attempts - 1, reason=reason)
                )

    def renew(self, claim: Claim, lease_until: float) -> bool:
        """Hold a claimed study for longer; tell whether the claim was still good."""
        with writing(self._engine) as connection:
            held = self._holds(connection, claim)
            if held:
                connection.execute(
                    study.update()
                    .where(is_generation(claim.study_uid, claim.generation))
                    .values(lease_until=lease_until)
                )
        return held

    def recover(self, now: float) -> int:
        """Take up where an earlier run stopped; return the number of studies it held.

        For a node that works on its ledger alone: every lease found at start is dead. On a shared
        one leases end by themselves.
        Instants that lie in the future (the clock was set back) are brought down to now.
        """
        with writing(self._engine) as connection:
            freed = connection.execute(
                study.update()
                .where(study.c.state == State.RUNNING)
                .values(state=State.READY, lease_owner=None, lease_until=None)
            ).rowcount
            for column in (study.c.first_at, study.c.last_at):
                connection.execute(
                    study.update()
                    .where(column > now, study.c.state == State.RECEIVING)
                    .values({column.name: now})
                )
            has_ended = study.c.state.not_in([State.RECEIVING, State.READY, State.RUNNING])
            connection.execute(
                study.update().where(study.c.ready_at > now, has_ended).values(ready_at=now)
            )
            connection.execute(study_count.delete().where(study_count.c.asked_at > now))
        return int(freed)

    def replay(self, study_uid: str, now: float, by: str = "") -> int:
        """Start a new generation of a study from the images at hand; return its number.

        Raises
        ------
        UnknownName
            There is no such study, or it is being worked on.
        """
        with writing(self._engine) as connection:
            latest = known_generation(connection, study_uid)
            if State(latest.state) in OPEN_TO_IMAGES | {State.RUNNING}:
                raise UnknownName(f"the study is {latest.state}: a draft is on its way already")
            has_images = sa.select(instance.c.path).where(instance.c.study_uid == study_uid)
            if connection.execute(has_images).first() is None:
                hint = "send it again; node.storage.keep_days says how long images are kept"
                raise UnknownName("the images of the study have been removed", hint=hint)
            generation = int(latest.generation) + 1
            values = {**latest._mapping, "generation": generation, "state": State.READY}
            values |= {"ready_at": now, "attempts": 0, "reason": ""}
            connection.execute(study.insert().values(**values))
            note(connection, study_uid, generation, Stage("replayed", now, by and f"by {by}"))
            note(connection, study_uid, generation, Stage("ready", now))
        return generation
