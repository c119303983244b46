"""What may leave the node: every kind of object has its marks, and one that lacks any stays.

Whoever adds a kind adds its row here: a kind without a row is held to the marks of a synthetic
film, which no other object has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydicom.dataset import Dataset

from node.heatmap import missing_heatmap_marks
from node.sc import missing_marks
from node.sop_classes import ENCAPSULATED_PDF, SR_CLASSES

_Guard = Callable[[Dataset], tuple[str, ...]]


def missing_in(kind: str, ds: Dataset) -> tuple[str, ...]:
    """Return the marks that an object lacks and without which it must not leave."""
    return GUARDS.get(kind, missing_marks)(ds)


def _of_report(ds: Dataset) -> tuple[str, ...]:
    """Return what a structured report lacks of a draft: nobody may have verified it."""
    return _missing(
        {
            "SOPClassUID": ds.SOPClassUID in SR_CLASSES,
            "Modality": ds.get("Modality") == "SR",
            "VerificationFlag": ds.get("VerificationFlag") == "UNVERIFIED",
        }
    )


def _of_document(ds: Dataset) -> tuple[str, ...]:
    """Return what a rendered page lacks of a draft; the banner itself is on every page of it."""
    return _missing(
        {
            "SOPClassUID": ds.SOPClassUID == ENCAPSULATED_PDF,
            "Modality": ds.get("Modality") == "DOC",
            "BurnedInAnnotation": ds.get("BurnedInAnnotation") == "YES",
            "VerificationFlag": ds.get("VerificationFlag") == "UNVERIFIED",
            "DocumentTitle": "UNVERIFIED" in str(ds.get("DocumentTitle", "")),
        }
    )


def _missing(marks: dict[str, bool]) -> tuple[str, ...]:
    return tuple(name for name, is_there in marks.items() if not is_there)


GUARDS: Final[dict[str, _Guard]] = {
    "report": _of_report,
    "basic_text": _of_report,
    "findings": _of_report,
    "pdf": _of_document,
    "heatmap": missing_heatmap_marks,
    "synthetic": missing_marks,
    "counterfactual": missing_marks,
}
"""For each kind what an object of it lacks; `node.makers` and `node.fallback` make no other."""
