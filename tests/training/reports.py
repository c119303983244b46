"""Films with reports, made by hand and real: what the question generators are tested on."""

import functools
from pathlib import Path

from training import catalog
from training.catalog import Film
from training.sections import clean_report

SHARED = Path(__file__).parents[3] / "shared" / "data" / "cxr"


@functools.cache
def real_val_films() -> list[Film]:
    """Return the val films of the shared collection."""
    rows = (row for row in catalog.read_manifest(SHARED) if row["split"] == "val")
    usable = (row for row in rows if catalog.reason_to_drop(row, SHARED, set()) is None)
    return [catalog.film_from_manifest(row, SHARED) for row in usable]


def film(study="s1", findings="", impression="", **changes) -> Film:
    """Return a frontal train film of a study with this report, cleaned as the catalog cleans it."""
    report = clean_report(findings, impression)
    values = {
        "image_id": f"{study}_a",
        "path": f"/nowhere/{study}.jpg",
        "source": "made for this test",
        "license": "none",
        "patient_id": f"p_{study}",
        "study_id": study,
        "split": "train",
        "view": "frontal",
        "orig_width": 256,
        "orig_height": 256,
        "findings": report.findings,
        "impression": report.impression,
        "labels": [None] * 14,
    }
    return Film(**{**values, **changes})
