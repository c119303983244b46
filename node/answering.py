"""The step that answers questions: the film of the draft, the model, an answer with provenance."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydicom import dcmread

from engine.errors import CxrError
from engine.pixels import Transform
from engine.results import Image
from engine.scheduler import Urgency
from engine.study_input import Beside
from node.clock import Clock
from node.config import WorkSettings
from node.errors import DraftRefused
from node.indication import prompted_indication
from node.ledger import Ledger
from node.logs import get_logger, say
from node.metered_draft import meter_generation
from node.meters import NO_METERS, Meters
from node.models import Models
from node.ports import Renderer
from node.questions import Question, Questions
from node.records import ShownParts
from node.redact import key
from node.reviews import NoSuccessor, Reviews
from node.spool import Spool
from node.task_answers import answer_task, needs_film

_LOG = get_logger("questions")
_RETRY_S = 2.0


@dataclass(frozen=True)
class AskedFilm:
    """A film that is asked about, and what is known beside it."""

    image: Image
    beside: Beside


class Films:
    """The films that drafts were made from, rendered for the model."""

    def __init__(self, reviews: Reviews, ledger: Ledger, spool: Spool, renderer: Renderer) -> None:
        self._reviews = reviews
        self._ledger = ledger
        self._spool = spool
        self._renderer = renderer

    def render(self, study_uid: str, generation: int, transform: Transform) -> AskedFilm:
        """Return a draft's film, with the lateral film and the indication that the draft had.

        Raises
        ------
        DraftRefused
            The film is not here any more.
        PixelError, StorageError
            It cannot be read.
        """
        content = self._reviews.content(study_uid, generation)
        instances = self._ledger.instances(study_uid, generation)
        paths = {one.sop_instance_uid: self._spool.path(one.path) for one in instances}
        if content is None or content["source"] not in paths:
            raise DraftRefused("the film has been removed")
        source, parts = str(content["source"]), ShownParts.from_json(content.get("parts"))
        beside = Beside()
        if parts.lateral is not None and parts.lateral.sop_instance_uid in paths:
            path = paths[parts.lateral.sop_instance_uid]
            beside["lateral"] = self._renderer.render(path, transform)
        if parts.indication:
            header = dcmread(paths[source], stop_before_pixels=True)
            beside["indication"] = prompted_indication(header)
        return AskedFilm(self._renderer.render(paths[source], transform), beside)


class Answerer:
    """Answers what is due, one question at a time.

    Parameters
    ----------
    carries
        Whether answers go into a successor of the draft by themselves.
    meters
        Count what the model writes.
    """

    def __init__(
        self,
        models: Models,
        films: Films,
        reviews: Reviews,
        questions: Questions,
        clock: Clock,
        work: WorkSettings,
        *,
        carries: bool,
        meters: Meters = NO_METERS,
    ) -> None:
        self._models = models
        self._films = films
        self._reviews = reviews
        self._questions = questions
        self._clock = clock
        self._work = work
        self._carries = carries
        self._meters = meters

    def step(self) -> bool:
        """Answer the question that has waited longest, or carry answers into a draft."""
        lease_s = self._work.draft_timeout_s
        claimed = self._questions.claim(self._clock.now(), lease_s=lease_s)
        if claimed is None:
            return self._carries and self._carry()
        if claimed.attempts > self._work.max_attempts:
            reason = f"given up after {self._work.max_attempts} attempts that did not end"
            self._give_up(claimed, reason)
            return True
        try:
            self._answer(claimed)
        except CxrError as error:
            self._fail(claimed, str(error))
        return True

    def _answer(self, claimed: Question) -> None:
        """Put the question to the model of the draft, about the film that it was made from.

        Somebody sits before the page and waits: it goes before drafts.
        """
        place = claimed.study_uid, claimed.generation
        content = self._reviews.content(*place) or {}
        engine = self._models.of_bundle(content.get("report", {}).get("bundle_digest", ""))
        if claimed.task is None:
            film = self._films.render(*place, engine.transform)
            answer = engine.ask(film.image, claimed.text, urgency=Urgency.STAT, **film.beside)
            text, provenance = answer.text, answer.provenance.as_json()
        else:
            is_on_film = needs_film(claimed.task["name"])
            image = self._films.render(*place, engine.transform).image if is_on_film else None
            text, provenance = answer_task(engine, claimed.task, image)
        provenance |= {"source": str(content.get("source", ""))}
        kept = self._questions.answer(claimed, text, provenance, self._clock.now())
        self._say(claimed, "question.answered" if kept else "question.claim_lost")
        meter_generation(self._meters, "answer", provenance)

    def _fail(self, claimed: Question, reason: str) -> None:
        """End a question, or leave it for later where another attempt may bring more."""
        now = self._clock.now()
        if claimed.attempts < self._work.max_attempts:
            self._questions.postpone(claimed, reason, now + _RETRY_S * 2**claimed.attempts)
        else:
            self._give_up(claimed, reason)

    def _give_up(self, claimed: Question, reason: str) -> None:
        self._questions.give_up(claimed, reason, self._clock.now())
        self._say(claimed, "question.failed", level=logging.WARNING, reason=reason)

    def _carry(self) -> bool:
        """Start successors that carry answers; those with a draft on its way come later."""
        started = [self._start(study_uid) for study_uid in self._reviews.uncarried()]
        return any(started)

    def _start(self, study_uid: str) -> bool:
        try:
            self._reviews.add_answers(study_uid, self._clock.now())
        except NoSuccessor:
            return False
        return True

    def _say(
        self,
        claimed: Question,
        event: str,
        *,
        level: int = logging.INFO,
        reason: str | None = None,
    ) -> None:
        study = key(claimed.study_uid)
        say(_LOG, event, level=level, study=study, question=claimed.id, reason=reason)
