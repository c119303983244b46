"""What peers announce of studies, kept in the ledger, and what the completion rule hears of it.

Announcements make a study complete earlier. They are never waited for: none is sure to come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection

import sqlalchemy as sa
from pydicom.uid import generate_uid
from sqlalchemy.engine import Connection, Engine

from node import statuses
from node.announced import (
    AnnouncementInvalid,
    Notice,
    StepStatus,
    availability,
    step_changed,
    step_created,
)
from node.clock import Clock
from node.errors import LedgerError
from node.logs import get_logger, say
from node.redact import key
from node.schema import announcement, instance, study_count
from node.services import Answer, Operation, Request
from node.studies import Announced, Counted, Evidence
from node.transactions import reading, writing

_LOG = get_logger("announcements")

_COMMENTS = {
    statuses.DUPLICATE_INSTANCE: "there is an instance of this UID",
    statuses.NO_SUCH_INSTANCE: "you created no such step",
    statuses.PROCESSING_FAILURE: "the step has ended and may no longer be updated",
}
"""Why a message is not taken (PS3.4 tables F.7.2-2 and R.3.2-2)."""


class Announcements:
    """What is known of studies beside the images that came.

    Parameters
    ----------
    on_news
        Called when a study may be complete now.
    """

    def __init__(self, engine: Engine, clock: Clock, on_news: Callable[[], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._on_news = on_news

    def on_mpps(self, request: Request) -> Answer:
        """Take an N-CREATE or N-SET of a performed procedure step (PS3.4 section F.7)."""
        takes = {Operation.CREATE: self._create_step, Operation.SET: self._change_step}
        return self._taken(request, takes[request.operation])

    def on_ian(self, request: Request) -> Answer:
        """Take an instance availability notification (PS3.4 section R.3)."""
        return self._taken(request, self._create_notification)

    def _taken(self, request: Request, take: Callable[[Request, str], int]) -> Answer:
        """Take a message; success means that it is in the ledger."""
        uid = request.sop_instance_uid or str(generate_uid(None))
        try:
            status = take(request, uid)
        except AnnouncementInvalid as error:
            return Answer(statuses.INVALID_ATTRIBUTE_VALUE, str(error))
        except LedgerError as error:
            return Answer(statuses.PROCESSING_FAILURE, str(error))
        if status == statuses.SUCCESS:
            self._on_news()
        return Answer(status, _COMMENTS.get(status, ""), uid)

    def _create_step(self, request: Request, uid: str) -> int:
        return self._create(request, uid, step_created(request.ds))

    def _create_notification(self, request: Request, uid: str) -> int:
        return self._create(request, uid, availability(request.ds))

    def _create(self, request: Request, uid: str, notice: Notice) -> int:
        now = self._clock.now()
        with writing(self._engine) as connection:
            if _known(connection, uid):
                return statuses.DUPLICATE_INSTANCE
            for study_uid in notice.study_uids:
                connection.execute(
                    announcement.insert().values(
                        sop_instance_uid=uid,
                        study_uid=study_uid,
                        peer=request.peer.name,
                        status=notice.status,
                        images=list(notice.images),
                        at=now,
                    )
                )
        _tell(request, notice, notice.study_uids)
        return statuses.SUCCESS

    def _change_step(self, request: Request, uid: str) -> int:
        notice = step_changed(request.ds)
        with writing(self._engine) as connection:
            rows = _known(connection, uid)
            if not rows or rows[0].peer != request.peer.name:
                return statuses.NO_SUCH_INSTANCE
            if rows[0].status != StepStatus.IN_PROGRESS:
                return statuses.PROCESSING_FAILURE
            values = {"status": notice.status, "at": self._clock.now()}
            if notice.images:
                values["images"] = list(notice.images)
            connection.execute(
                announcement.update().where(announcement.c.sop_instance_uid == uid).values(values)
            )
        _tell(request, notice, [row.study_uid for row in rows])
        return statuses.SUCCESS

    def count(self, study_uid: str, num_images: int, asked_at: float) -> None:
        """Note how many images a peer holds of a study."""
        values = {"num_images": num_images, "asked_at": asked_at}
        with writing(self._engine) as connection:
            again = study_count.update().where(study_count.c.study_uid == study_uid)
            if not connection.execute(again.values(values)).rowcount:
                connection.execute(study_count.insert().values(study_uid=study_uid, **values))

    def evidence(self, study_uids: Collection[str]) -> dict[str, Evidence]:
        """Return what is known of some studies."""
        if not study_uids:
            return {}
        with reading(self._engine) as connection:
            announced = _announced(connection, study_uids)
            counted = _counted(connection, study_uids)
            named = [one for one in study_uids if one in announced or one in counted]
            held = _held(connection, named)
        return {
            uid: Evidence(frozenset(held[uid]), tuple(announced.get(uid, ())), counted.get(uid))
            for uid in named
        }


def _tell(request: Request, notice: Notice, study_uids: Collection[str]) -> None:
    for study_uid in study_uids:
        say(
            _LOG,
            "study.announced",
            study=key(study_uid),
            peer=request.peer.name,
            status=notice.status,
            images=len(notice.images),
        )


def _known(connection: Connection, uid: str) -> list[sa.Row[tuple[str, str, str]]]:
    query = sa.select(announcement.c.study_uid, announcement.c.peer, announcement.c.status)
    return list(connection.execute(query.where(announcement.c.sop_instance_uid == uid)))


def _announced(
    connection: Connection, study_uids: Collection[str]
) -> defaultdict[str, list[Announced]]:
    """Return what stands announced; a step that was discontinued says nothing."""
    query = sa.select(announcement).where(
        announcement.c.study_uid.in_(study_uids),
        announcement.c.status != StepStatus.DISCONTINUED,
    )
    announced = defaultdict(list)
    for row in connection.execute(query):
        is_final = row.status == StepStatus.COMPLETED
        announced[row.study_uid].append(Announced(is_final, frozenset(row.images)))
    return announced


def _counted(connection: Connection, study_uids: Collection[str]) -> dict[str, Counted]:
    query = sa.select(study_count).where(study_count.c.study_uid.in_(study_uids))
    return {
        row.study_uid: Counted(row.num_images, row.asked_at) for row in connection.execute(query)
    }


def _held(connection: Connection, study_uids: Collection[str]) -> defaultdict[str, set[str]]:
    query = sa.select(instance.c.study_uid, instance.c.sop_instance_uid).where(
        instance.c.study_uid.in_(study_uids)
    )
    held = defaultdict(set)
    for row in connection.execute(query):
        held[row.study_uid].add(row.sop_instance_uid)
    return held
