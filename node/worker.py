"""The steps between a study that receives images and a study with its draft."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.errors import CxrError
from node.announcements import Announcements
from node.clock import Clock
from node.config import StudySettings, WorkSettings
from node.config_outputs import OutboxSettings
from node.errors import StorageError
from node.leases import Leases
from node.ledger import Ledger
from node.logs import brief, get_logger, say
from node.metered_draft import meter_draft
from node.meters import NO_METERS, STUDIES, Meters
from node.pipeline import Pipeline, StudyRefused
from node.records import Claim, Stage
from node.redact import key
from node.routing import by_kind
from node.studies import Closing, Receiving, State, close_quiet_studies

_LOG = get_logger("worker")
_DISK_WAIT_S = 30.0


class Closer:
    """Moves complete studies on.

    Parameters
    ----------
    announcements
        What peers say of studies.
    open_study_uids
        Tells the studies that an open association carries.
    is_stat
        Tells whether a complete study goes first.
    """

    def __init__(
        self,
        ledger: Ledger,
        announcements: Announcements,
        rule: StudySettings,
        clock: Clock,
        open_study_uids: Callable[[], frozenset[str]],
        is_stat: Callable[[Receiving, float], bool],
    ) -> None:
        self._ledger = ledger
        self._announcements = announcements
        self._rule = rule
        self._clock = clock
        self._open_study_uids = open_study_uids
        self._is_stat = is_stat

    def step(self) -> bool:
        """Close every study that is complete; tell whether one was."""
        now = self._clock.now()
        receiving = self._ledger.receiving()
        evidence = self._announcements.evidence([study.study_uid for study in receiving])
        closings = close_quiet_studies(
            [
                replace(study, evidence=evidence.get(study.study_uid, study.evidence))
                for study in receiving
            ],
            now=now,
            open_study_uids=self._open_study_uids(),
            rule=self._rule,
        )
        closed = [closing for closing in closings if self._close(closing, now)]
        for closing in closed:
            say(
                _LOG,
                f"study.{closing.state.lower()}",
                study=key(closing.study.study_uid),
                generation=closing.study.generation,
                waited_s=round(now - closing.study.last_at, 1),
                reason=closing.reason or None,
            )
        return bool(closed)

    def _close(self, closing: Closing, now: float) -> bool:
        stat = closing.state is State.READY and self._is_stat(closing.study, now)
        return self._ledger.close(closing, now, stat=stat)


class Worker:
    """Claims studies and drafts them, one at a time.

    Parameters
    ----------
    name
        Owner of the leases that it takes.
    leases
        Keep its claims alive.
    meters
        Count what comes of studies.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        pipeline: Pipeline,
        leases: Leases,
        clock: Clock,
        work: WorkSettings,
        outbox: OutboxSettings,
        meters: Meters = NO_METERS,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._pipeline = pipeline
        self._leases = leases
        self._clock = clock
        self._work = work
        self._give_up_after_s = outbox.give_up_after_s
        self._meters = meters

    def step(self) -> bool:
        """Draft the study that has waited longest; tell whether there was one."""
        claim = self._ledger.claim(
            self._name,
            self._clock.now(),
            lease_s=self._work.lease_s,
            max_attempts=self._work.max_attempts,
        )
        if claim is None:
            return False
        try:
            with self._leases.held(claim):
                self._draft(claim)
        except StudyRefused as refused:
            self._end(claim, refused.state, str(refused), refused.stages)
        except StorageError as error:
            self._postpone(claim, str(error))
        except CxrError as error:
            self._end(claim, State.FAILED, str(error))
        except Exception as error:  # noqa: BLE001  (supervisor loop 2 of 2: a failed study, no more)
            self._end(claim, State.FAILED, brief(error))
        return True

    def _draft(self, claim: Claim) -> None:
        began_at = self._clock.now()
        instances = self._ledger.instances(claim.study_uid, claim.generation)
        finished = self._pipeline.draft_study(claim, instances)
        kept = self._ledger.finish(
            claim,
            finished,
            by_kind(finished.send),
            self._clock.now(),
            give_up_after_s=self._give_up_after_s,
        )
        self._say(claim, "study.drafted" if kept else "study.claim_lost")
        if kept:
            self._meters.count(STUDIES, "drafted")
            meter_draft(self._meters, claim, began_at, finished, self._clock.now())

    def _end(self, claim: Claim, state: State, reason: str, stages: Sequence[Stage] = ()) -> None:
        """End a study without a draft."""
        self._ledger.end(claim, state, reason, self._clock.now(), stages)
        self._meters.count(STUDIES, state.lower())
        self._say(claim, f"study.{state.lower()}", level=logging.WARNING, reason=reason)

    def _postpone(self, claim: Claim, reason: str) -> None:
        """Leave a study for later: a full disk is no fault of its own."""
        self._ledger.postpone(claim, reason, self._clock.now() + _DISK_WAIT_S)
        self._meters.count(STUDIES, "postponed")
        self._say(claim, "study.postponed", level=logging.WARNING, reason=reason)

    def _say(
        self, claim: Claim, event: str, *, level: int = logging.INFO, reason: str | None = None
    ) -> None:
        say(
            _LOG,
            event,
            level=level,
            study=claim.key,
            generation=claim.generation,
            attempt=claim.attempts,
            reason=reason,
        )
