"""Asking peers by C-FIND how many images they hold of a study that is coming in (PS3.4 annex C).

Its own loop, on a budget: an answer makes a study complete earlier, and nothing waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from pydicom.dataset import Dataset
from sqlalchemy.engine import Engine

from node.announcements import Announcements
from node.clock import Clock
from node.config import PeerSettings, StudySettings
from node.errors import PeerError
from node.ledger import Ledger
from node.logs import get_logger, say
from node.query import STUDY_ROOT_FIND, find
from node.records import DeliveryStatus
from node.redact import key
from node.schema import delivery, output
from node.scu import Scu
from node.studies import Receiving
from node.transactions import reading

_LOG = get_logger("confirmer")

_ASK_AGAIN_S = 2.0
_REST_S = 30.0
"""A peer that gave no answer is left alone for this long."""


class Confirmer:
    """Compares the studies that come in with what peers hold.

    Parameters
    ----------
    peers
        The peers by name; those with `query: true` are asked.
    kinds
        The kinds of output that lie in the study itself: what a peer was sent of them is no
        image of the study.
    open_study_uids
        Tells the studies that an open association carries: those are not asked about.
    """

    def __init__(
        self,
        peers: Mapping[str, PeerSettings],
        rule: StudySettings,
        kinds: tuple[str, ...],
        scu: Scu,
        engine: Engine,
        announcements: Announcements,
        clock: Clock,
        open_study_uids: Callable[[], frozenset[str]],
    ) -> None:
        self._peers = {name: peer for name, peer in peers.items() if peer.query}
        self._rule = rule
        self._kinds = kinds
        self._scu = scu
        self._engine = engine
        self._ledger = Ledger(engine)
        self._announcements = announcements
        self._clock = clock
        self._open_study_uids = open_study_uids
        self._asked_at: dict[str, float] = {}
        self._resting_until: dict[str, float] = {}

    def step(self) -> bool:
        """Ask about every study that is due; tell whether a peer answered."""
        receiving = self._ledger.receiving()
        self._forget_others({study.study_uid for study in receiving})
        open_uids = self._open_study_uids()
        due = [one for one in receiving if self._is_due(one) and one.study_uid not in open_uids]
        answered = [self._ask(study) for study in due]
        return any(answered)

    def _forget_others(self, study_uids: set[str]) -> None:
        for study_uid in self._asked_at.keys() - study_uids:
            del self._asked_at[study_uid]

    def _is_due(self, study: Receiving) -> bool:
        """Tell whether a study is quiet, and has not been asked about just now."""
        now = self._clock.now()
        asked_at = self._asked_at.get(study.study_uid, 0.0)
        is_quiet = now - study.last_at >= self._rule.confirmed_quiet_s
        return is_quiet and (asked_at < study.last_at or now - asked_at >= _ASK_AGAIN_S)

    def _ask(self, study: Receiving) -> bool:
        """Ask the peers in turn, until one has answered."""
        asked_at = self._clock.now()
        self._asked_at[study.study_uid] = asked_at
        for name, peer in self._peers.items():
            if self._resting_until.get(name, 0.0) > asked_at:
                continue
            try:
                number = count_instances(self._scu, peer, study.study_uid, self._rule)
            except PeerError as error:
                self._resting_until[name] = self._clock.now() + _REST_S
                say(_LOG, "query.failed", level=logging.WARNING, peer=name, reason=str(error))
                continue
            if number is not None:
                num_images = number - self._num_own(study.study_uid, name)
                self._announcements.count(study.study_uid, num_images, asked_at)
                say(_LOG, "study.counted", study=key(study.study_uid), peer=name, images=num_images)
                return True
        return False

    def _num_own(self, study_uid: str, peer: str) -> int:
        """Return how many objects of ours a peer was sent into a study."""
        query = (
            sa.select(sa.func.count())
            .select_from(output)
            .join(delivery)
            .where(
                output.c.study_uid == study_uid,
                output.c.kind.in_(self._kinds),
                delivery.c.destination == peer,
                delivery.c.status.in_([DeliveryStatus.SENT, DeliveryStatus.COMMITTED]),
            )
        )
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())


def count_instances(
    scu: Scu, peer: PeerSettings, study_uid: str, rule: StudySettings
) -> int | None:
    """Return how many instances a peer has of a study; None where it cannot tell.

    Raises
    ------
    PeerError
        It cannot be reached, or does not answer in time.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_uid
    query.NumberOfStudyRelatedInstances = None
    with scu.association(peer, [STUDY_ROOT_FIND], timeout_s=rule.query_timeout_s) as assoc:
        found = find(assoc, query)
    if len(found) != 1:
        return None
    number = found[0].get("NumberOfStudyRelatedInstances")
    return None if number is None else int(number)
