"""A draft built again from what is known of it, with the words that people put in. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from engine.assessment import Assessment, Bands, assess
from engine.bundle import device_uid_of
from engine.results import DraftReport, Inspection, Provenance
from node.drafted import Drafted, EarlierFilm, Film
from node.outputs import OutputIdentity
from node.records import Prior, Review, ShownParts


@dataclass(frozen=True)
class Revision:
    """What a generation is built from in place of the model's answer; None keeps what was."""

    content: dict[str, Any]
    """The draft that it follows, as the ledger keeps it."""
    findings: tuple[str, ...] | None = None
    impression: tuple[str, ...] | None = None
    answers: tuple[tuple[str, str], ...] | None = None
    """Questions with their answers."""

    @property
    def source(self) -> str:
        """The SOP Instance UID of the film."""
        return str(self.content["source"])

    @property
    def inspection(self) -> Inspection:
        """What the guard said of the film."""
        return Inspection(True, self.content["view"], (), self.content["scores"])

    @property
    def draft(self) -> DraftReport:
        """The report in the words of now, by the model of then."""
        content, provenance = self.content, Provenance(**self.content["report"])
        if self.findings is None and self.impression is None:
            before = tuple(content["findings"]), tuple(content["impression"])
            return DraftReport(*before, content["text"], provenance)
        edited = self.findings or (), self.impression or ()
        return DraftReport(*edited, " ".join([*edited[0], *edited[1]]), provenance)

    @property
    def review(self) -> Review:
        """What people have done to the draft by now, this time and before."""
        before = self.content.get("review") or {}
        is_edited = self.findings is not None or bool(before.get("is_edited"))
        asked = tuple((one, other) for one, other in before.get("answers", ()))
        return Review(is_edited, asked if self.answers is None else self.answers)

    @property
    def prior(self) -> Prior | None:
        """The earlier film that was found for the draft."""
        known = self.content.get("prior")
        return Prior(**known) if known else None

    @property
    def parts(self) -> ShownParts:
        """What the model had been shown of the study beside the film."""
        return ShownParts.from_json(self.content.get("parts"))

    def assessments(self, bands: Bands) -> tuple[Assessment, ...]:
        """Return what the classifier saw then beside what the text says now."""
        rows = self.content.get("assessments") or ()
        seen = {row["finding"]: row["certainty"] for row in rows}
        chances = {name: chance for name, chance in seen.items() if chance is not None}
        return assess(chances, chances, self.draft.text, bands) if rows else ()

    def applied(
        self, film: Film, identity: OutputIdentity, bands: Bands, earlier: EarlierFilm | None
    ) -> Drafted:
        """Return the draft to build objects from; no image is drawn again."""
        return Drafted(
            film,
            self.draft,
            identity,
            self.assessments(bands),
            earlier=earlier,
            review=self.review,
            parts=self.parts,
        )


def of_model(identity: OutputIdentity, provenance: Provenance, device_uid: str) -> OutputIdentity:
    """Return an identity that names the model which wrote the draft, whichever runs by now.

    Parameters
    ----------
    device_uid
        UID of the model that runs.
    """
    digest = provenance.bundle_digest
    is_current = digest == identity.bundle_digest
    return replace(
        identity,
        bundle_digest=digest,
        algorithm_name=provenance.bundle_name,
        algorithm_version=provenance.bundle_version,
        device_uid=device_uid if is_current else device_uid_of(digest),
    )
