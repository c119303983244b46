"""What the human MeSH codes of the Indiana films say: diseases, sentences, places.

The kinds follow CheXbench (arXiv 2401.12208, section 3): one disease, a set of diseases, and pairs
of sentences that differ in one word (side, region, severity). The published items are not
redistributed; these are made from codes such as ``Pulmonary Atelectasis/base/left``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.tasks.registry import Input
from engine.tasks.values import Place
from engine.tasks.words import PLACES
from training.tasks.drafts import MESH, Draft, shuffled, statement
from training.tasks.studies import Shelf, Study

DISEASES = (
    "Opacity", "Cardiomegaly", "Calcinosis", "Pulmonary Atelectasis", "Calcified Granuloma",
    "Scoliosis", "Cicatrix", "Pleural Effusion", "Airspace Disease", "Atherosclerosis", "Nodule",
    "Granulomatous Disease", "Fractures, Bone", "Osteophyte", "Pulmonary Congestion", "Infiltrate",
    "Emphysema", "Pneumonia", "Hernia, Hiatal", "Pneumothorax",
)  # fmt: skip
"""The twenty MeSH heads that a disease question may ask for (the commonest diseases of IU)."""
RELATED = (
    {"Opacity", "Airspace Disease", "Infiltrate", "Pneumonia", "Pulmonary Atelectasis",
     "Consolidation", "Density", "Markings"},
    {"Calcinosis", "Calcified Granuloma", "Granulomatous Disease", "Nodule", "Atherosclerosis",
     "Granuloma", "Mass"},
    {"Opacity", "Nodule", "Cicatrix", "Calcified Granuloma", "Density", "Mass",
     "Pulmonary Fibrosis", "Granuloma"},
    {"Osteophyte", "Spine", "Thoracic Vertebrae", "Spondylosis", "Bone Diseases, Metabolic"},
    {"Scoliosis", "Kyphosis", "Spine", "Thoracic Vertebrae"},
    {"Emphysema", "Pulmonary Emphysema", "Pulmonary Disease, Chronic Obstructive", "Lung",
     "Lung, Hyperlucent", "Diaphragm"},
    {"Pulmonary Congestion", "Pulmonary Edema", "Markings"},
    {"Atherosclerosis", "Aorta", "Aorta, Thoracic"},
    {"Fractures, Bone", "Deformity", "Thoracic Vertebrae"},
    {"Pleural Effusion", "Costophrenic Angle", "Thickening", "Cicatrix"},
    {"Cardiomegaly", "Cardiac Shadow"},
    {"Hernia, Hiatal", "Diaphragmatic Eventration", "Diaphragm"},
)  # fmt: skip
"""Heads that coders use for the same thing: none is a wrong option beside another."""
SWAPS: dict[str, dict[str, str]] = {
    "side": {"left": "right", "right": "left"},
    "region": {"upper lobe": "lower lobe", "lower lobe": "upper lobe", "apex": "base",
               "base": "apex"},
    "severity": {"mild": "severe", "severe": "mild", "small": "large", "large": "small"},
}  # fmt: skip
SPOKEN = {"Fractures, Bone": "bone fracture", "Hernia, Hiatal": "hiatal hernia"}
"""Heads that are not said as they are coded."""
REGIONS = {
    "upper lobe": "upper", "middle lobe": "middle", "lower lobe": "lower", "apex": "apex",
    "base": "base", "lingula": "middle",
}  # fmt: skip
GRADES = {
    "mild": "mild", "small": "mild", "moderate": "moderate", "severe": "severe", "large": "severe",
}  # fmt: skip
GRADED = frozenset(
    {"Cardiomegaly", "Pleural Effusion", "Pulmonary Congestion", "Scoliosis", "Pulmonary Edema",
     "Emphysema", "Hernia, Hiatal", "Pulmonary Atelectasis", "Pneumothorax", "Kyphosis"}
)  # fmt: skip
PLACED = frozenset(
    {"Opacity", "Pulmonary Atelectasis", "Calcified Granuloma", "Cicatrix", "Airspace Disease",
     "Nodule", "Infiltrate", "Pneumonia", "Consolidation", "Mass", "Granuloma"}
)  # fmt: skip


def spoken(head: str) -> str:
    """Return a head as it is said."""
    return SPOKEN.get(head, head.lower())


def diseases(study: Study) -> list[str]:
    """Return the heads of a study's codes that a disease question may ask for."""
    heads = {code[0] for code in study.codes}
    return [head for head in DISEASES if head in heads]


def distractors(study: Study, count: int) -> list[str]:
    """Return heads that a study does not have and that name nothing that it has."""
    present = {code[0] for code in study.codes}
    close = present.union(*(group for group in RELATED if group & present))
    free = [head for head in DISEASES if head not in close]
    return list(shuffled(free, study.film.study_id, "distractor"))[:count]


def single_disease(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the question on the one disease that is coded."""
    present = diseases(study)
    if study.is_frontal and len(present) == 1:
        right, wrong = spoken(present[0]), map(spoken, distractors(study, 3))
        yield choice(study, right, list(wrong))


def disease_set(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the question on the whole set of diseases, against sets with one exchanged."""
    present = diseases(study)
    if not study.is_frontal or not 2 <= len(present) <= 4:
        return
    kept = [spoken(head) for head in present[:-1]]
    others = [spoken(head) for head in distractors(study, 3)]
    right = "; ".join([*kept, spoken(present[-1])])
    yield choice(study, right, ["; ".join([*kept, other]) for other in others])


def choice(study: Study, right: str, wrong: Sequence[str], finding: str = "") -> Draft:
    """Return a question with options; the right one is the response."""
    options = shuffled([right, *wrong], study.film.study_id, right)
    where = options.index(right)
    return Draft((study.film,), statement(right), where, MESH, options=options, finding=finding)


def sentence(code: Sequence[str]) -> str:
    """Return a code as words, qualifiers first: "small left pleural effusion in the base"."""
    head, *rest = code
    graded = [word for word in rest if word in SWAPS["severity"]]
    sided = [word for word in rest if word in ("left", "right")]
    placed = [word for word in rest if word in SWAPS["region"]]
    where = f" in the {' '.join([*sided, *placed])}" if placed else ""
    before = [*graded, *([] if placed else sided)]
    return " ".join([*before, spoken(head)]) + where


def fine_grained(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield pairs of sentences that differ in one word; a pair that both hold is left out."""
    if not study.is_frontal:
        return
    for kind, swaps in SWAPS.items():
        pairs = (pair for code in study.codes for pair in swapped(code, swaps, study.codes))
        found = next(pairs, None)
        if found is not None:
            right, wrong = (f"The film shows {phrase}." for phrase in found)
            yield choice(study, right, [wrong], kind)


def swapped(
    code: list[str], swaps: dict[str, str], codes: list[list[str]]
) -> Iterator[tuple[str, str]]:
    """Yield a code's sentence and its opposite, unless another code of the head says that too."""
    words = [word for word in code[1:] if word in swaps]
    if code[0] not in DISEASES or len(words) != 1 or "bilateral" in code:
        return
    opposite = swaps[words[0]]
    if not any(other[0] == code[0] and opposite in other for other in codes):
        changed = [opposite if word == words[0] else word for word in code]
        yield sentence(code), sentence(changed)


def single_codes(study: Study) -> Iterator[tuple[str, list[str]]]:
    """Yield head and qualifiers of what a frontal film has coded once."""
    heads = [code[0] for code in study.codes]
    if study.is_frontal:
        yield from ((head, rest) for head, *rest in study.codes if heads.count(head) == 1)


def places(study: Study) -> Iterator[tuple[Draft, Place]]:
    """Yield side and region of what is coded once and in one place."""
    for head, rest in single_codes(study):
        sides = {word for word in rest if word in ("left", "right", "bilateral")}
        regions = {REGIONS[word] for word in rest if word in REGIONS}
        sides |= {"left"} if "lingula" in rest else set()
        if head in PLACED and len(sides) == len(regions) == 1:
            place = Place(sides.pop(), regions.pop())
            text = statement(f"{place.side} {PLACES[place.region]}")
            given = {Input.FINDING: spoken(head)}
            yield Draft((study.film,), text, place, MESH, given, finding=head), place


def grades(study: Study) -> Iterator[Draft]:
    """Yield the severity of what is coded once and with one grade."""
    for head, rest in single_codes(study):
        found = [word for word in rest if word in GRADES]
        if head in GRADED and len(found) == 1:
            text = f"The {spoken(head)} is {found[0]}."
            given = {Input.FINDING: spoken(head)}
            key = GRADES[found[0]]
            yield Draft((study.film,), text, key, MESH, given, finding=head)
