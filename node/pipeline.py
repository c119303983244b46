"""From the images of a study to what leaves the node: one draft, one report, one marked image."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pydicom import dcmread

from engine.assessment import Assessment, Bands
from engine.counterfactual import without
from engine.errors import PixelError
from engine.results import DraftReport, Drawing
from engine.scheduler import Urgency
from engine.statistics import measured
from node.clock import Clock, as_datetime
from node.config_outputs import OutputSettings
from node.drafted import Counterfactual, Drafted, Film
from node.drift import MEASURED, detail_of
from node.earlier_films import EarlierFilms
from node.errors import DraftRefused
from node.headers import read_facts
from node.made import Made
from node.makers import make_objects
from node.models import Models
from node.outputs import HEATMAP, OutputIdentity
from node.ports import Drafter, PriorSearch, Renderer, Revisions
from node.records import (
    Claim,
    Finished,
    Stage,
    StoredInstance,
    StoredOutput,
)
from node.revisions import Revision, of_model
from node.routing import SHADOW, Route, SendMap, by_kind, decide, facts_of
from node.rules import InstanceFacts, choose_image
from node.spool import Spool
from node.studies import State
from node.surroundings import Surroundings


class StudyRefused(DraftRefused):
    """The study gets no draft; `stages` are those that it came through."""

    def __init__(self, state: State, reason: str, stages: Sequence[Stage] = ()) -> None:
        super().__init__(reason)
        self.state = state
        self.stages = tuple(stages)


@dataclass
class _Journey:
    """One draft on its way: whose it is, which model makes it, and its steps as they end."""

    clock: Clock
    claim: Claim
    route: Route
    engine: Drafter
    stages: list[Stage] = field(default_factory=list)

    @property
    def wanted(self) -> Collection[str]:
        """The kinds of output that a destination is to be sent."""
        return by_kind(self.route.send).keys()

    def passed(self, name: str, detail: str = "") -> None:
        self.stages.append(Stage(name, self.clock.now(), detail))


class Pipeline:
    """Drafts studies.

    Parameters
    ----------
    models
        Who drafts.
    renderer
        Decodes the pixels, apart from us.
    settings
        The `outputs:` section.
    priors
        Looks for an earlier film of the patient; None where no peer is to be asked.
    send
        What goes where, if no rule of the settings says otherwise.
    revisions
        Knows what people made of earlier drafts; None where nobody can.
    surroundings
        Gathers what a model is given beside a film; None takes the settings' defaults.
    """

    def __init__(
        self,
        models: Models,
        renderer: Renderer,
        settings: OutputSettings,
        spool: Spool,
        clock: Clock,
        priors: PriorSearch | None = None,
        send: SendMap | None = None,
        revisions: Revisions | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._models = models
        self._renderer = renderer
        self._settings = settings
        self._spool = spool
        self._clock = clock
        self._earlier = EarlierFilms(spool, priors)
        self._send = send or {}
        self._revisions = revisions
        self._surroundings = surroundings or Surroundings(renderer)

    def draft_study(self, claim: Claim, instances: tuple[StoredInstance, ...]) -> Finished:
        """Draft one generation of a study; its objects are on disk when this returns.

        Raises
        ------
        StudyRefused
            There is no film to draft from, or a rule wants no draft (SKIPPED), or no film can be
            read (FAILED).
        EngineError
            The model could not answer.
        StorageError
            The disk refused an object.
        """
        images = read_facts(self._spool, instances)
        journey = self._set_out(claim, images)
        revision = self._revisions and self._revisions.revision(claim.study_uid, claim.generation)
        if revision:
            return self._revise(instances, revision, journey)
        if not journey.route.drafts:
            raise StudyRefused(State.SKIPPED, f"rule {journey.route.rule} wants no draft")
        film = self._choose(images, journey)
        earlier = self._earlier.look(claim, film, journey.passed)
        engine = journey.engine
        parts = self._surroundings.gather(engine, images, film)
        draft = engine.report(film.image, urgency=_urgency(claim), **parts.beside)
        journey.passed("reported", draft.provenance.bundle)
        shown = draft.provenance.inputs
        if detail := parts.detail(shown):
            journey.passed("inputs", detail)
        assessments = engine.assess(film.image, draft.text, self._bands())
        drafted = Drafted(
            film,
            draft,
            _identity(journey, film),
            assessments,
            engine.evidence(film.image) if HEATMAP in journey.wanted else {},
            *self._draw(draft, assessments, journey),
            earlier,
            parts=parts.shown(shown),
        )
        return self._finish(drafted, journey)

    def _set_out(self, claim: Claim, images: Sequence[InstanceFacts]) -> _Journey:
        """Ask the rules of the site what is done with a study, and by which model."""
        settings = self._settings
        facts = facts_of(
            images,
            called_aet=claim.called_aet,
            peer=claim.peer,
            completed_at=as_datetime(claim.ready_at).astimezone(),
        )
        route = decide(settings.rules, facts, self._send, shadow=settings.shadow)
        engine = self._models.of_study(claim.study_uid, route.bundle)
        journey = _Journey(self._clock, claim, route, engine)
        if route.rule:
            journey.passed("rule", f"{route.rule} matched")
        return journey

    def _bands(self) -> Bands:
        found = self._settings.findings
        return Bands(found.present_from, found.absent_below)

    def _revise(
        self,
        instances: tuple[StoredInstance, ...],
        revision: Revision,
        journey: _Journey,
    ) -> Finished:
        """Build a generation from the draft of an earlier one and what people made of it."""
        source = next((one for one in instances if one.sop_instance_uid == revision.source), None)
        if source is None:
            raise StudyRefused(State.FAILED, "the film of the draft has been removed")
        path = self._spool.path(source.path)
        try:
            image = self._renderer.render(path, journey.engine.transform)
        except PixelError as error:
            raise StudyRefused(State.FAILED, f"unreadable pixels: {error}") from error
        film = Film(dcmread(path, stop_before_pixels=True), image, revision.inspection)
        identity = of_model(
            _identity(journey, film), revision.draft.provenance, journey.engine.device_uid
        )
        earlier = self._earlier.known(revision.prior)
        return self._finish(revision.applied(film, identity, self._bands(), earlier), journey)

    def _finish(self, drafted: Drafted, journey: _Journey) -> Finished:
        outputs = tuple(
            self._store(kind, made)
            for kind, made in make_objects(drafted, self._settings, journey.wanted)
        )
        journey.passed("built")
        made_so_far = (outputs, drafted.content(), tuple(journey.stages))
        if journey.route.is_shadow:
            return Finished(*made_so_far, withheld=SHADOW)
        return Finished(*made_so_far, send=journey.route.send)

    def _draw(
        self,
        draft: DraftReport,
        assessments: Sequence[Assessment],
        journey: _Journey,
    ) -> tuple[Drawing | None, Counterfactual | None]:
        """Draw the report and, if asked, the same report without its likeliest finding."""
        settings = self._settings.synthetic
        if not settings.enabled:
            return None, None
        seed = seed_of(journey.claim)
        drawing = journey.engine.draw(draft.text, seed=seed)
        journey.passed("drawn")
        finding = _likeliest(assessments) if settings.counterfactual else ""
        if not finding:
            return drawing, None
        missing = journey.engine.draw(without(draft.text, finding), seed=seed)
        journey.passed("drawn", "counterfactual")
        return drawing, Counterfactual(finding, missing)

    def _choose(self, images: Sequence[InstanceFacts], journey: _Journey) -> Film:
        """Return the first film, in the order of the rules, that the guard accepts."""
        choice = choose_image(images)
        if not choice.candidates:
            raise StudyRefused(State.SKIPPED, f"no frontal film: {choice.reason}")
        rejected: list[str] = []
        unreadable: list[str] = []
        for facts in choice.candidates:
            try:
                image = self._renderer.render(facts.path, journey.engine.transform)
            except PixelError as error:
                unreadable.append(str(error))
                continue
            journey.passed("rendered")
            inspection = journey.engine.inspect(image)
            journey.passed("inspected")
            values = measured(image, inspection, facts.rows / max(facts.columns, 1))
            journey.passed(MEASURED, detail_of(journey.engine.digest, values))
            if inspection.accepted:
                ds = dcmread(facts.path, stop_before_pixels=True)
                return Film(ds, image, inspection)
            rejected.extend(inspection.reasons)
        stages = journey.stages
        if rejected:
            raise StudyRefused(State.SKIPPED, f"no acceptable film: {_join(rejected)}", stages)
        raise StudyRefused(State.FAILED, f"unreadable pixels: {_join(unreadable)}", stages)

    def _store(self, kind: str, made: Made) -> StoredOutput:
        path, sha256 = self._spool.store_output(made)
        return StoredOutput(made.uid, made.sop_class_uid, kind, path, sha256)


def _identity(journey: _Journey, film: Film) -> OutputIdentity:
    """Return what the objects of this generation are called, the same on every retry."""
    claim, engine = journey.claim, journey.engine
    return OutputIdentity(
        study_instance_uid=claim.study_uid,
        generation=claim.generation,
        bundle_digest=engine.digest,
        device_uid=engine.device_uid,
        algorithm_name=engine.name,
        algorithm_version=engine.version,
        created_at=as_datetime(claim.ready_at).astimezone(),
        institution=str(film.ds.get("InstitutionName") or ""),
        station_name=str(film.ds.get("StationName") or ""),
        previous_bundle_digest=claim.predecessor_digest or "",
        has_predecessor=claim.predecessor_digest is not None,
    )


def seed_of(claim: Claim) -> int:
    """Return the seed of a generation's drawing: the same on every retry."""
    digest = hashlib.sha256(f"{claim.study_uid}\0{claim.generation}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _urgency(claim: Claim) -> Urgency:
    """Return how soon the model is to draft a study."""
    return Urgency.STAT if claim.is_stat else Urgency.ROUTINE


def _likeliest(assessments: Sequence[Assessment]) -> str:
    """Return the finding that the draft states and the classifier holds likeliest, if any."""
    stated = [one for one in assessments if one.text == "present" and one.finding != "No Finding"]
    return max(stated, key=lambda one: one.certainty or 0.0).finding if stated else ""


def _join(reasons: Sequence[str]) -> str:
    """Join reasons, each once."""
    return "; ".join(dict.fromkeys(reasons))
