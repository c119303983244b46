"""Which builder makes the rows of which task, and which tasks only published formats can teach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from engine.tasks.registry import TASKS
from training.catalog import SPLITS, Film
from training.tasks import diseases, locations, matching, mesh, reports, views
from training.tasks.drafts import Builder, example
from training.tasks.studies import Shelf, studies_of
from training.tasks.table import Example

BUILDERS: Mapping[str, Builder] = {
    "view": views.view,
    "view-matching": views.view_matching,
    "binary-disease": diseases.binary_disease,
    "single-disease": diseases.single_disease,
    "multi-disease": diseases.multi_disease,
    "disease-set": mesh.disease_set,
    "disease-list": diseases.disease_list,
    "side": locations.side,
    "location": locations.location,
    "severity": locations.severity,
    "localise": locations.localise,
    "fine-grained": mesh.fine_grained,
    "findings": reports.findings,
    "findings-with-indication": reports.findings_with_indication,
    "findings-by-section": reports.findings_by_section,
    "impression": reports.impression,
    "impression-from-findings": reports.impression_from_findings,
    "findings-in-text": reports.findings_in_text,
    "image-text-matching": matching.matching,
    "image-text-selection": matching.selection,
}
FORMATS_ONLY: frozenset[str] = frozenset(TASKS) - frozenset(BUILDERS)
"""Tasks that films with reports cannot teach: boxes, courses, questions of other collections."""


def build(films: Iterable[Film], wanted: Iterable[str]) -> Iterator[Example]:
    """Yield the candidate rows of some tasks, in a fixed order."""
    studies, names = studies_of(films), [name for name in BUILDERS if name in set(wanted)]
    for split in SPLITS:
        ours = [study for study in studies if study.film.split == split]
        shelf = Shelf([study for study in ours if study.has_report])
        for study in ours:
            for name in names:
                for draft in BUILDERS[name](study, shelf):
                    yield example(name, study, draft)
