"""The last chest film of a patient before a study, looked for at peers just before the draft.

The peers are asked in a thread of its own, which keeps nothing: it only brings what it found. When
the budget is over the worker goes on without it, and whatever it brings then is forgotten. So a
peer that stalls costs a draft the budget and no more, and then no other draft anything for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from pydicom.dataset import Dataset
from sqlalchemy.engine import Engine

from node.config import NodeSettings, PeerSettings
from node.config_kinds import WEB
from node.errors import PeerError, StorageError
from node.file_meta import file_meta
from node.logs import get_logger, say
from node.prior_choice import StudyFacts, earlier_studies, why_not_asked
from node.prior_source import FoundFilm, PriorSource
from node.prior_web import WebPriorSource
from node.records import Claim, Prior, PriorAnswer, PriorOutcome
from node.schema import prior
from node.scu import Scu
from node.spool import Spool
from node.transactions import writing

_LOG = get_logger("priors")
_MB = 1_000_000
_REST_S = 30.0
"""A peer that failed is left alone for this long."""
_MAX_STUDIES = 5
_BROKE_OFF = "the search broke off"


class Source(Protocol):
    """Where earlier films may be; `node.prior_source` and `node.prior_web` know one each."""

    name: str

    def studies(self, current: StudyFacts, within_s: float) -> list[StudyFacts]:
        """Return the patient's studies up to this one's day."""

    def film(self, current: StudyFacts, study: StudyFacts, within_s: float) -> FoundFilm | None:
        """Return the frontal chest film of an earlier study."""


class PriorShelf:
    """Where earlier films lie: apart from what was received, and never a study of their own."""

    def __init__(self, spool: Spool, engine: Engine) -> None:
        self._spool = spool
        self._engine = engine

    def check_room(self) -> None:
        """Check that there is room for a film.

        Raises
        ------
        StorageError
            There is none.
        """
        self._spool.check_room()

    def keep(self, study_uid: str, film: FoundFilm, encoded: memoryview) -> str:
        """Keep a film as long as the study that it was fetched for; return its path.

        Raises
        ------
        StorageError
            Disk or ledger refused. A file that has no row is removed at the next start.
        """
        command = film.command
        uids = (command.sop_class_uid, command.sop_instance_uid, command.transfer_syntax_uid)
        unfinished = self._spool.begin_image()
        try:
            unfinished.write(file_meta(*uids))
            unfinished.write(encoded)
            path = self._spool.keep_prior(unfinished, study_uid, command.sop_instance_uid)
        finally:
            unfinished.drop()
        which = (prior.c.study_uid == study_uid) & (
            prior.c.sop_instance_uid == command.sop_instance_uid
        )
        with writing(self._engine) as connection:
            connection.execute(prior.delete().where(which))
            connection.execute(
                prior.insert().values(
                    study_uid=study_uid,
                    sop_instance_uid=command.sop_instance_uid,
                    path=path,
                    num_bytes=len(encoded),
                )
            )
        return path


class Priors:
    """Looks for earlier films.

    Parameters
    ----------
    peers
        The peers to ask, in turn.
    settings
        The budget, and the size of the largest object.
    """

    def __init__(
        self,
        peers: Mapping[str, PeerSettings],
        settings: NodeSettings,
        scu: Scu,
        shelf: PriorShelf,
    ) -> None:
        max_bytes = settings.intake.max_object_mb * _MB
        self._sources: list[Source] = [
            PriorSource(name, peer, scu, max_bytes) for name, peer in peers.items()
        ]
        if settings.priors_web.url is not None:
            self._sources.append(WebPriorSource(WEB, settings.priors_web, max_bytes))
        self._budget_s = settings.study.priors_budget_s
        self._shelf = shelf
        self._resting_until: dict[str, float] = {}

    def look(self, claim: Claim, source: Dataset) -> PriorAnswer:
        """Return the last film before a study, or why there is none; never later than the budget.

        To write a film to disk may take what it takes; only the peers are on the budget.

        Parameters
        ----------
        source
            Header of the film that the draft is made from.
        """
        began_at = time.monotonic()
        current = replace(StudyFacts.of(source), study_uid=claim.study_uid)
        answer = self._ask(claim, current)
        answer = replace(answer, ms=(time.monotonic() - began_at) * 1000)
        is_fault = answer.outcome in ("timeout", "error")
        say(
            _LOG,
            f"prior.{answer.outcome}",
            level=logging.WARNING if is_fault else logging.INFO,
            study=claim.key,
            generation=claim.generation,
            ms=round(answer.ms, 1),
            reason=answer.reason,
        )
        return answer

    def _ask(self, claim: Claim, current: StudyFacts) -> PriorAnswer:
        """Ask the peers that are not at rest, and keep what they bring."""
        reason = why_not_asked(current)
        if reason:
            return _answer("none", reason)
        now = time.monotonic()
        sources = [one for one in self._sources if self._resting_until.get(one.name, 0.0) <= now]
        if not sources:
            return _answer("error", "every peer failed just now and is left alone")
        try:
            self._shelf.check_room()
            return self._brought(claim, _Search(current, sources, now + self._budget_s))
        except StorageError as error:
            return _answer("error", str(error))

    def _brought(self, claim: Claim, search: _Search) -> PriorAnswer:
        """Wait for a search until its time is up; only what it has brought by then counts."""
        search.start()
        ended = search.ended.wait(search.remaining())
        answer = search.answer if ended else _answer("timeout", f"{search.asking} did not answer")
        for name in search.failed if ended else {search.asking}:
            self._resting_until[name] = time.monotonic() + _REST_S
        answer = replace(answer, asked=tuple(search.asked))
        film = search.film if ended else None
        if film is None:
            return answer
        encoded, uid = film.encoded, film.command.sop_instance_uid
        path = None if encoded is None else self._shelf.keep(claim.study_uid, film, encoded)
        study = film.study
        return replace(answer, prior=Prior(study.study_uid, uid, study.date, path))


class _Search(threading.Thread):
    """One search; it touches neither disk nor ledger, so it can be left behind at any moment.

    Parameters
    ----------
    deadline
        Instant of `time.monotonic` at which nobody waits for it any more. Its calls are cut then.
    """

    def __init__(self, current: StudyFacts, sources: list[Source], deadline: float) -> None:
        super().__init__(name="prior-search", daemon=True)
        self._current = current
        self._sources = {source.name: source for source in sources}
        self._deadline = deadline
        self.ended = threading.Event()
        self.asking = sources[0].name
        self.asked: list[str] = []
        self.failed: dict[str, str] = {}
        self.film: FoundFilm | None = None
        self.answer = _answer("error", _BROKE_OFF)

    def remaining(self) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._deadline - time.monotonic())

    def run(self) -> None:
        """Search; whatever happens, say when it has ended."""
        try:
            self.answer = self._search()
        finally:
            self.ended.set()

    def _search(self) -> PriorAnswer:
        earlier, reason = earlier_studies(self._current, self._all_studies())
        for study in earlier[:_MAX_STUDIES]:
            self.asking = study.peer
            try:
                source = self._sources[study.peer]
                self.film = source.film(self._current, study, self.remaining())
            except PeerError as error:
                self.failed[study.peer] = _why(error)
                break
            if self.film is not None:
                return _answer("found", f"at {study.peer}")
        if self.failed:
            outcome: PriorOutcome = "error" if self.remaining() else "timeout"
            return _answer(outcome, "; ".join(f"{n}: {why}" for n, why in self.failed.items()))
        return _answer("none", reason or "no earlier study holds a frontal chest film")

    def _all_studies(self) -> list[StudyFacts]:
        """Ask every peer for the patient's studies; each has an equal part of what is left."""
        found: list[StudyFacts] = []
        for number, (name, source) in enumerate(self._sources.items()):
            self.asking = name
            self.asked.append(name)
            share_s = self.remaining() / (len(self._sources) - number)
            try:
                found += source.studies(self._current, share_s)
            except PeerError as error:
                self.failed[name] = _why(error)
        return found


def _answer(outcome: PriorOutcome, reason: str) -> PriorAnswer:
    return PriorAnswer(outcome, reason, 0.0)


def _why(error: PeerError) -> str:
    return f"{error} (hint: {error.hint})" if error.hint else str(error)
