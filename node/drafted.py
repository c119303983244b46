"""Everything that a draft came to, from which the objects of a study are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from engine.assessment import Assessment
from engine.results import DraftReport, Drawing, Evidence, Image, Inspection
from node.outputs import OutputIdentity
from node.records import NOTHING_SHOWN, Prior, Review, ShownParts


@dataclass(frozen=True)
class Film:
    """The film that a draft is made from."""

    ds: Dataset
    """Its header: no pixels."""
    image: Image
    inspection: Inspection


@dataclass(frozen=True)
class Counterfactual:
    """A drawing of the same report without one finding."""

    finding: str
    drawing: Drawing


@dataclass(frozen=True)
class EarlierFilm:
    """The patient's last film before this study, and its header where it was fetched."""

    prior: Prior
    ds: Dataset | None = None


@dataclass(frozen=True)
class Drafted:
    """What the model said of a film, and what the objects that carry it are called."""

    film: Film
    draft: DraftReport
    identity: OutputIdentity
    assessments: Sequence[Assessment] = ()
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    drawing: Drawing | None = None
    counterfactual: Counterfactual | None = None
    earlier: EarlierFilm | None = None
    review: Review | None = None
    parts: ShownParts = NOTHING_SHOWN

    def content(self) -> dict[str, Any]:
        """Return the result that the ledger keeps, as JSON-ready values."""
        missing = self.counterfactual
        return {
            "source": str(self.film.ds.SOPInstanceUID),
            "view": self.film.inspection.view,
            "scores": self.film.inspection.scores,
            "findings": list(self.draft.findings),
            "impression": list(self.draft.impression),
            "text": self.draft.text,
            "assessments": [one.as_json() for one in self.assessments],
            "report": self.draft.provenance.as_json(),
            "drawing": self.drawing and self.drawing.provenance.as_json(),
            "counterfactual": missing and missing.finding,
            "prior": self.earlier and asdict(self.earlier.prior),
            "parts": asdict(self.parts),
            "review": self.review and asdict(self.review),
        }
