"""Studies as the builders see them: films, what is known of them, and what may stand in contrast.

What a film shows is taken from its labels (of the report as it was written, or as published). Human
MeSH codes, where a film has them, must not contradict: such studies are asked nothing that would
rest on either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from engine.findings import FINDINGS
from training.catalog import Film
from training.vqa import rules
from training.vqa.phrasings import digest
from training.vqa.table import Question

MESH_FINDINGS = {
    "Cardiomegaly": "Cardiomegaly",
    "Pulmonary Atelectasis": "Atelectasis",
    "Pleural Effusion": "Pleural Effusion",
    "Pneumothorax": "Pneumothorax",
    "Pneumonia": "Pneumonia",
    "Consolidation": "Consolidation",
    "Pulmonary Edema": "Edema",
    "Fractures, Bone": "Fracture",
    "Nodule": "Lung Lesion",
    "Mass": "Lung Lesion",
}
"""MeSH heads that name a finding; "Opacity" is coded for too many things to be one."""
MAX_TRIES = 64


@dataclass(frozen=True)
class Study:
    """The films of one study, frontal ones first."""

    films: tuple[Film, ...]

    @property
    def film(self) -> Film:
        """The film that findings are asked on."""
        return self.films[0]

    @property
    def is_frontal(self) -> bool:
        """Tell whether that film is a frontal one."""
        return self.film.view == "frontal"

    @property
    def has_report(self) -> bool:
        """Tell whether a cleaned report is left."""
        return self.film.has_report

    @cached_property
    def states(self) -> dict[str, float | None]:
        """The state of every finding; empty where nothing is known."""
        labels = self.film.labels
        known = any(value is not None for value in labels)
        return dict(zip(FINDINGS, labels, strict=True)) if known else {}

    def with_state(self, *wanted: float | None) -> frozenset[str]:
        """Return the findings in one of some states."""
        return frozenset(name for name in FINDINGS[1:] if self.states.get(name) in wanted)

    @cached_property
    def present(self) -> frozenset[str]:
        """The findings that are there beyond doubt."""
        return self.with_state(1.0)

    @cached_property
    def absent(self) -> frozenset[str]:
        """The findings that are denied, every one in a normal study."""
        return frozenset(FINDINGS[1:]) if self.is_normal else self.with_state(0.0)

    @property
    def uncertain(self) -> frozenset[str]:
        """The findings that are left open."""
        return self.with_state(-1.0)

    @property
    def is_normal(self) -> bool:
        """Tell whether the labels say that nothing was found, devices included."""
        return self.states.get("No Finding") == 1.0 and not self.present

    @cached_property
    def codes(self) -> list[list[str]]:
        """The film's MeSH codes as lists of head and qualifiers."""
        is_coded = self.film.source.startswith("IU")
        return [code.split("/") for code in self.film.mesh.split("; ") if code and is_coded]

    @cached_property
    def is_settled(self) -> bool:
        """Tell whether labels and human codes agree and no finding is left open."""
        heads = {code[0] for code in self.codes}
        coded = {MESH_FINDINGS[head] for head in heads & MESH_FINDINGS.keys()}
        if "normal" in heads and self.present:
            return False
        return bool(self.states) and not self.uncertain and coded <= self.present

    @cached_property
    def questions(self) -> list[Question]:
        """What the cleaned report of a frontal film, or else its labels, answer."""
        if not self.is_frontal:
            return []
        if self.has_report:
            return list(rules.from_report(self.film, Counter()))
        return list(rules.from_labels(self.film))


def studies_of(films: Iterable[Film]) -> list[Study]:
    """Return the studies of a catalog, in a fixed order."""
    ordered = sorted(films, key=lambda f: (f.study_id, f.view != "frontal", f.image_id))
    grouped = groupby(ordered, key=lambda film: film.study_id)
    return [Study(tuple(group)) for _, group in grouped]


@dataclass(frozen=True)
class Shelf:
    """Studies of one split to take wrong answers from: never one of another split."""

    studies: Sequence[Study]

    def others(self, study: Study, salt: str) -> Iterator[Study]:
        """Yield studies of other patients from a place that study and salt fix."""
        count = len(self.studies)
        start = digest(study.film.study_id, salt) % max(count, 1)
        for step in range(min(count, MAX_TRIES)):
            other = self.studies[(start + step) % count]
            if other.film.patient_id != study.film.patient_id:
                yield other
