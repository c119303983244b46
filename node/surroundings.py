"""What is known of a study beside its frontal film, gathered for a model that can read it.

Whatever is missing, refused or unreadable is left out and named in the timeline; no study fails
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from engine.errors import PixelError
from engine.guard import as_lateral
from engine.results import Image
from engine.study_input import Beside, Part
from node.config_inputs import InputSettings
from node.drafted import Film
from node.indication import prompted_indication
from node.ports import Drafter, Renderer
from node.previous_reports import PreviousReports
from node.records import NOTHING_SHOWN, ImageReference, ShownParts
from node.rules import InstanceFacts, choose_lateral

_MAX_LATERALS: Final = 3
"""Films that are looked at in search of the lateral one: each is decoded and classified."""
DEFAULTS: Final = InputSettings()
_NO_ROOM: Final = "no room in the prompt"


@dataclass(frozen=True)
class StudyParts:
    """What was found beside a frontal film, and why the rest was not."""

    beside: Beside = field(default_factory=lambda: Beside())
    found: ShownParts = NOTHING_SHOWN
    missing: tuple[tuple[Part, str], ...] = ()

    def shown(self, inputs: Sequence[str]) -> ShownParts:
        """Return what a prompt with these parts held of it."""
        found = self.found
        return ShownParts(
            found.lateral if Part.LATERAL in inputs else None,
            found.indication and Part.INDICATION in inputs,
            found.previous if Part.PREVIOUS_REPORT in inputs else None,
        )

    def detail(self, inputs: Sequence[str]) -> str:
        """Return for the timeline what the prompt held, and why not more; it names no patient.

        Empty where the frontal film is all that the model reads or is let read.
        """
        if not (self.beside or self.missing):
            return ""
        lost = [(part, _NO_ROOM) for part in Part if part in self.beside and part not in inputs]
        left_out = (f"{part} left out: {why}" for part, why in (*self.missing, *lost))
        return "; ".join([f"given {', '.join(inputs)}", *left_out])


@dataclass(frozen=True)
class _Looked:
    """What the search for one part came to."""

    beside: Beside
    found: ShownParts


class Surroundings:
    """Gathers the parts of studies.

    Parameters
    ----------
    settings
        The `node.inputs` section.
    reports
        Knows earlier reports; None where nobody can.
    """

    def __init__(
        self,
        renderer: Renderer,
        settings: InputSettings = DEFAULTS,
        reports: PreviousReports | None = None,
    ) -> None:
        self._renderer = renderer
        self._reports = reports
        self._wanted = {part for part in _LOOKS if getattr(settings, part)}

    def gather(self, engine: Drafter, images: Sequence[InstanceFacts], film: Film) -> StudyParts:
        """Return the parts of a study that its model can read and the site lets it.

        Raises
        ------
        EngineError
            The model could not look at a film.
        """
        parts = StudyParts()
        for part, look in _LOOKS.items():
            if part not in engine.inputs or part not in self._wanted:
                continue
            looked = look(self, engine, images, film)
            if isinstance(looked, str):
                parts = replace(parts, missing=(*parts.missing, (part, looked)))
                continue
            beside: Beside = {**parts.beside, **looked.beside}
            parts = replace(parts, beside=beside, found=_joined(parts.found, looked.found))
        return parts

    def _lateral(
        self, engine: Drafter, images: Sequence[InstanceFacts], film: Film
    ) -> _Looked | str:
        """Return the first film that the guard takes for an upright lateral one."""
        study_uid = str(film.ds.StudyInstanceUID)
        choice = choose_lateral(images, str(film.ds.SOPInstanceUID))
        reasons: list[str] = []
        for facts in choice.candidates[:_MAX_LATERALS]:
            found = self._seen(engine, facts)
            if isinstance(found, str):
                reasons.append(found)
                continue
            uids = facts.series_instance_uid, facts.sop_class_uid, facts.sop_instance_uid
            reference = ImageReference(study_uid, *uids)
            return _Looked(Beside(lateral=found), ShownParts(lateral=reference))
        return "; ".join(dict.fromkeys(reasons)) or "the study has none"

    def _seen(self, engine: Drafter, facts: InstanceFacts) -> Image | str:
        """Return a rendered lateral film, or why it is none."""
        try:
            image = self._renderer.render(facts.path, engine.transform)
        except PixelError as error:
            return f"unreadable pixels: {error}"
        verdict = as_lateral(engine.inspect(image))
        return image if verdict.accepted else "; ".join(verdict.reasons)

    def _indication(
        self, engine: Drafter, images: Sequence[InstanceFacts], film: Film
    ) -> _Looked | str:
        text = prompted_indication(film.ds)
        if not text:
            return "the header states none"
        return _Looked(Beside(indication=text), ShownParts(indication=True))

    def _previous(
        self, engine: Drafter, images: Sequence[InstanceFacts], film: Film
    ) -> _Looked | str:
        if self._reports is None:
            return "there is no ledger to look in"
        reviewed, reason = self._reports.before(str(film.ds.StudyInstanceUID), film.ds)
        if reviewed is None:
            return reason
        return _Looked(Beside(previous_report=reviewed.text), ShownParts(previous=reviewed.report))


def _joined(one: ShownParts, other: ShownParts) -> ShownParts:
    return ShownParts(
        one.lateral or other.lateral,
        one.indication or other.indication,
        one.previous or other.previous,
    )


_Look = Callable[[Surroundings, Drafter, Sequence[InstanceFacts], Film], _Looked | str]

_LOOKS: Final[dict[Part, _Look]] = {
    Part.LATERAL: Surroundings._lateral,
    Part.INDICATION: Surroundings._indication,
    Part.PREVIOUS_REPORT: Surroundings._previous,
}
"""What looks for each part, and returns why there is none where it finds none."""
