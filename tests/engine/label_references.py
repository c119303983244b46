"""Two reference sets for `cxr-labeler`, mapped to the fourteen findings, and scores on them.

``radlabels`` 0.2.0 (PyPI, MIT): 1,000 synthetic reports with RadGraph-XL matches, silver: cut-off
sentences carry wrong states. Only its bundled files are read; its code needs torch below 2.5.
``iu``: Indiana University reports with MeSH terms by human indexers (`../shared`).

A reference speaks of the findings that its table lists and of no other. Half of each set (even
sha256 of the identifier) served to write the rules; only the odd half is a measurement.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engine.findings import FINDINGS
from tests.films import CXR

POSITIVE = "positive = present or uncertain; where the reference codes asserted ones only, present"
"""How four states become two; `ASSERTED_ONLY` lists the exception."""

ASSERTED_ONLY: dict[str, frozenset[str]] = {
    "radlabels": frozenset(),
    # the indexers left "cannot exclude pneumonia" without a term
    "iu": frozenset({"Pneumonia"}),
}

RADLABELS: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": ("enlarged_cardiomediastinum",),
    "Cardiomegaly": ("cardiomegaly",),
    "Lung Lesion": ("lung_nodule_or_mass", "lung_lesion"),
    "Lung Opacity": (
        "lung_opacity",
        "air_space_opacity",
        "ground_glass_opacity",
        "infiltration",
        "interstitial_thickening",
        "peribronchial_cuffing",
    ),
    "Edema": ("pulmonary_edema", "pulmonary_congestion_pulmonary_venous_congestion"),
    "Consolidation": ("consolidation",),
    "Pneumonia": ("pneumonia",),
    "Atelectasis": (
        "atelectasis",
        "lobar_segmental_collapse",
        "whole_lung_or_majority_collapse",
    ),
    "Pneumothorax": ("pneumothorax",),
    "Pleural Effusion": ("pleural_effusion",),
    "Pleural Other": ("pleural_other", "pleural_thickening"),
    "Fracture": ("fracture_generic", "acute_rib_fracture", "non_acute_rib_fracture"),
    "Support Devices": (
        "central_venous_catheter",
        "endotracheal_tube",
        "enteric_tube",
        "implantable_electronic_device",
        "intercostal_drain",
        "pacemaker_electronic_cardiac_device_or_wires",
        "support_devices_generic",
        "tracheostomy_tube",
    ),
}
"""Its labels by finding; it has none for a normal film."""

FOREIGN_ALIASES: dict[str, re.Pattern[str]] = {
    # both are aliases of its air-space opacity and findings of their own here
    "Lung Opacity": re.compile(r"consolidation|pneumonia"),
    # granulomas and calcified nodules are benign residues: an observation beyond the fourteen
    "Lung Lesion": re.compile(r"granuloma|^calcified|lytic"),
    # a blunted angle is fluid or an old scar; the text says neither
    "Pleural Effusion": re.compile(r"costophrenic|meniscus"),
}
"""Aliases of a label that stand for something else here."""

MESH: dict[str, str] = {
    "No Finding": r"normal$",
    "Enlarged Cardiomediastinum": r"mediastinum/(?!.*lymph)(?:.*/)?(?:prominent|enlarged)",
    "Cardiomegaly": r"cardiomegaly|cardiac shadow/(?:.*/)?(?:enlarged|borderline)"
    r"|heart(?: \w+)?/(?:.*/)?enlarged",
    "Lung Lesion": r"(?:nodule|mass)\b(?!/(?:breast|abdomen|thyroid))|cavitation|lung neoplasms"
    r"|(?:opacity|density)/(?:.*/)?round",
    "Lung Opacity": r"opacity|infiltrate|airspace disease|density/(?:lung|retrocardiac)"
    r"|markings/(?:.*/)?(?:interstitial|reticular)|lung/(?:.*/)?interstitial",
    "Edema": r"pulmonary edema|pulmonary congestion|heart failure",
    "Consolidation": r"consolidation",
    "Pneumonia": r"pneumonia",
    "Atelectasis": r"pulmonary atelectasis",
    "Pneumothorax": r"(?:hydro|hemo)?pneumothorax",
    "Pleural Effusion": r"pleural effusion|(?:hydro|hemo)pneumothorax|hemothorax|empyema",
    "Pleural Other": r"thickening/pleura|pleura/(?!.*blunted)|(?:calcinosis|cicatrix)/pleura",
    "Fracture": r"fractures, bone",
    "Support Devices": r"catheters, indwelling|tube, inserted|implanted medical device"
    r"|medical device",
}
"""MeSH term (heading and qualifiers, lower-case) by finding."""

REASONS: dict[str, str] = {
    "iu, interstitial markings": "opacity here, as in the CheXpert list",
    "iu, round opacity or density": "what reports call nodular: a lesion and an opacity",
    "iu, bronchovascular markings": "crowded vessels of a shallow breath: no opacity",
    "iu, cardiac shadow borderline": "uncertain counts as positive",
    "iu, surgical instruments, stents, fusions": "left by surgery, support nothing: no device",
    "iu, calcified granuloma": "no lesion, see radlabels",
    "iu, No Finding": "the heading 'normal' means no abnormality of any kind; it stands outside "
    "the micro average, which would gain from it",
}


@dataclass(frozen=True)
class Study:
    """A report with what its reference says of it; ``labels`` holds only findings in the table."""

    uid: str
    text: str
    labels: dict[str, bool]
    raw: str


def half(uid: str) -> str:
    """Return even (rules were written on it) or odd (measured on)."""
    return ("even", "odd")[int(hashlib.sha256(uid.encode()).hexdigest(), 16) % 2]


def radlabels_file() -> Path | None:
    """Return the sample of the installed radlabels, or None where it is not installed."""
    try:
        found = metadata.distribution("radlabels")
    except metadata.PackageNotFoundError:
        return None
    return Path(str(found.locate_file("radlabels/samples/synthetic_matches.json")))


def _radlabels() -> list[Study]:
    path = radlabels_file()
    assert path is not None
    stored = json.loads(path.read_text())
    return [
        Study(uid, row["text"], _silver(row["matches"]), str(row["matches"]))
        for uid, row in stored.items()
    ]


def _silver(matches: list[dict[str, str]]) -> dict[str, bool]:
    def counts(match: dict[str, str], finding: str) -> bool:
        foreign = FOREIGN_ALIASES.get(finding)
        named = match["disease"] in RADLABELS[finding]
        own = foreign is None or not foreign.search(match["alias"])
        return named and own and match["label"] != "definitely absent"

    return {name: any(counts(match, name) for match in matches) for name in RADLABELS}


def _iu() -> list[Study]:
    rows = map(json.loads, (CXR / "iu_reports.jsonl").read_text().splitlines())
    return [
        Study(str(row["uid"]), _report(row), _mesh(row["mesh_major"]), "; ".join(row["mesh_major"]))
        for row in rows
        if row["mesh_major"]
        and "No Indexing" not in row["mesh_major"]
        and (row["findings"] or row["impression"])
    ]


def _report(row: dict[str, str]) -> str:
    """Return a whole report, its indication included: the labeler must leave that out itself."""
    names = ("indication", "comparison", "findings", "impression")
    return "\n".join(f"{name.upper()}: {row[name]}" for name in names if row[name])


def _mesh(terms: list[str]) -> dict[str, bool]:
    lowered = [term.lower().strip() for term in terms]
    return {
        name: any(re.match(pattern, term) for term in lowered) for name, pattern in MESH.items()
    }


@functools.cache
def load(name: str) -> tuple[Study, ...]:
    """Return the studies of ``radlabels`` or ``iu``."""
    return tuple({"radlabels": _radlabels, "iu": _iu}[name]())


def counts(name: str, finding: str, state: float | None) -> bool:
    """Tell whether a state is positive by `POSITIVE`."""
    return state == 1.0 or (state == -1.0 and finding not in ASSERTED_ONLY[name])


@dataclass(frozen=True)
class Score:
    """True positives, false positives, false negatives of one finding or of several together."""

    hits: int
    false: int
    missed: int

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.missed)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.missed)


def table(
    name: str, studies: Sequence[Study], labels: Sequence[tuple[float | None, ...]]
) -> dict[str, Score]:
    """Return the score by finding and, as ``micro``, of all together but No Finding."""
    scores: dict[str, Score] = {}
    for finding in studies[0].labels:
        column = FINDINGS.index(finding)
        pairs = [
            (counts(name, finding, row[column]), study.labels[finding])
            for study, row in zip(studies, labels, strict=True)
        ]
        scores[finding] = Score(
            pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
        )
    pooled = [score for finding, score in scores.items() if finding != "No Finding"]
    scores["micro"] = Score(
        *(sum(getattr(score, part) for score in pooled) for part in ("hits", "false", "missed"))
    )
    return scores


def render(scores: dict[str, Score]) -> str:
    """Return the scores as a Markdown table."""
    head = [
        f"({POSITIVE})",
        "",
        "| finding | n | precision | recall | F1 |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join(
        [
            *head,
            *(
                f"| {name} | {score.hits + score.missed} | {score.precision:.3f} |"
                f" {score.recall:.3f} | {score.f1:.3f} |"
                for name, score in scores.items()
            ),
        ]
    )
