"""Everything that a draft came to, from which the objects of a study are built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydicom.dataset import Dataset

from engine.results import DraftReport, Drawing, Image, Inspection
from node.outputs import OutputIdentity
from node.records import Prior, Review


@dataclass(frozen=True)
class Film:
    """The film that a draft is made from."""

    ds: Dataset
    """Its header: no pixels."""
    image: Image
    inspection: Inspection


@dataclass(frozen=True)
class Drafted:
    """What the model said of a film, and what the objects that carry it are called."""

    film: Film
    draft: DraftReport
    identity: OutputIdentity
    drawing: Drawing | None = None
    prior: Prior | None = None
    review: Review | None = None

    def content(self) -> dict[str, Any]:
        """Return the result that the ledger keeps, as JSON-ready values."""
        return {
            "source": str(self.film.ds.SOPInstanceUID),
            "view": self.film.inspection.view,
            "scores": self.film.inspection.scores,
            "findings": list(self.draft.findings),
            "impression": list(self.draft.impression),
            "text": self.draft.text,
            "report": self.draft.provenance.as_json(),
            "drawing": self.drawing and self.drawing.provenance.as_json(),
            "prior": self.prior and asdict(self.prior),
            "review": self.review and asdict(self.review),
        }
