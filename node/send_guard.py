"""What may leave the node: every SOP class has its own marks, and an object that lacks one stays.

Whoever adds a kind of object adds its row here: a class without a row is held to the marks of a
synthetic film, which no other class can have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydicom.dataset import Dataset

from node.heatmap import missing_heatmap_marks
from node.outputs import HEATMAP
from node.sc import missing_marks
from node.sop_classes import ENCAPSULATED_PDF, SR_CLASSES

_Guard = Callable[[Dataset], tuple[str, ...]]


def missing_in(kind: str, ds: Dataset) -> tuple[str, ...]:
    """Return the marks that an object lacks and without which it must not leave.

    ``kind`` is what the node made it as: an image made as a heat map is held to the marks of one.
    """
    of_image = missing_heatmap_marks if kind == HEATMAP else missing_marks
    return GUARDS.get(str(ds.SOPClassUID), of_image)(ds)


def _of_report(ds: Dataset) -> tuple[str, ...]:
    """Return what a structured report lacks of a draft: nobody may have verified it."""
    wanted = {"Modality": "SR", "VerificationFlag": "UNVERIFIED"}
    return tuple(keyword for keyword, value in wanted.items() if ds.get(keyword) != value)


def _of_document(ds: Dataset) -> tuple[str, ...]:
    """Return what a rendered page lacks of a draft; the banner itself is on every page of it."""
    wanted = {
        "Modality": "DOC",
        "BurnedInAnnotation": "YES",
        "VerificationFlag": "UNVERIFIED",
    }
    missing = [keyword for keyword, value in wanted.items() if ds.get(keyword) != value]
    if "UNVERIFIED" not in str(ds.get("DocumentTitle", "")):
        missing.append("DocumentTitle")
    return tuple(missing)


GUARDS: Final[dict[str, _Guard]] = {
    **dict.fromkeys(SR_CLASSES, _of_report),
    ENCAPSULATED_PDF: _of_document,
}
"""For each class of document what it lacks; images must have every mark of `node.sc`."""
