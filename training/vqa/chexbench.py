"""Multiple choice in CheXbench's format: built from IU MeSH codes, read, put to a model, scored.

The kinds follow CheXbench (arXiv 2401.12208, section 3): view, one disease, several diseases, and
pairs of sentences that differ in one word (side, region, severity). The published items are not
redistributed; these are made from human MeSH codes, so figures are not comparable with published
ones. An answer that names no single option is wrong (the original draws an option at random).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.catalog import Film
from training.errors import VqaError
from training.vqa.phrasings import digest

IU = "IU X-Ray"
LETTERS = "ABCD"
UNPARSABLE = -1
DISEASES = (
    "Opacity", "Cardiomegaly", "Calcinosis", "Pulmonary Atelectasis", "Calcified Granuloma",
    "Scoliosis", "Cicatrix", "Pleural Effusion", "Airspace Disease", "Atherosclerosis", "Nodule",
    "Granulomatous Disease", "Fractures, Bone", "Osteophyte", "Pulmonary Congestion", "Infiltrate",
    "Emphysema", "Pneumonia", "Hernia, Hiatal", "Pneumothorax",
)  # fmt: skip
"""The twenty MeSH heads that a disease question may ask for (the commonest diseases of IU)."""
RELATED = (
    {"Opacity", "Airspace Disease", "Infiltrate", "Pneumonia", "Pulmonary Atelectasis"},
    {"Calcinosis", "Calcified Granuloma", "Granulomatous Disease", "Nodule", "Atherosclerosis"},
    {"Opacity", "Nodule", "Cicatrix", "Calcified Granuloma"},
)
"""Heads that coders use for the same shadow: none is a wrong option beside another."""
SWAPS: dict[str, dict[str, str]] = {
    "side": {"left": "right", "right": "left"},
    "region": {"upper lobe": "lower lobe", "lower lobe": "upper lobe", "apex": "base",
               "base": "apex"},
    "severity": {"mild": "severe", "severe": "mild", "small": "large", "large": "small"},
}  # fmt: skip
LETTER = re.compile(r"^\W*(?:(?:[Oo]ption|[Aa]nswer)\W+)?\(?([A-D])(?:[).:,]|\s*$)")
"""A letter that stands as an answer: in brackets, with a stop or alone ("A film …" is none)."""


class Item(BaseModel):
    """One question with two to four options; ``answer`` is the index of the right one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    question: str
    option_0: str
    option_1: str
    option_2: str | None = None
    option_3: str | None = None
    answer: int = Field(ge=0, le=3)
    image_path: str
    data_source: str
    slice: str

    @property
    def options(self) -> list[str]:
        """The options that there are."""
        found = (self.option_0, self.option_1, self.option_2, self.option_3)
        return [option for option in found if option is not None]

    def prompt(self) -> str:
        """Return the question with its options under letters."""
        pairs = zip(LETTERS, self.options, strict=False)
        listed = " ".join(f"({letter}) {option}" for letter, option in pairs)
        return f"{self.question} Options: {listed}"


def make(film: Film, kind: str, question: str, right: str, wrong: Sequence[str]) -> Item:
    """Return an item, its options in an order that film and question fix."""
    order = sorted([right, *wrong], key=lambda text: digest(film.image_id, kind, text))
    options = {f"option_{place}": text for place, text in enumerate(order)}
    return Item(
        question=question,
        answer=order.index(right),
        image_path=film.path,
        data_source=film.source,
        slice=kind,
        **options,
    )


def terms(film: Film) -> list[list[str]]:
    """Return a film's MeSH codes as lists of head and qualifiers."""
    return [code.split("/") for code in film.mesh.split("; ") if code]


def diseases(film: Film) -> list[str]:
    """Return the heads of a film's codes that a disease question may ask for."""
    heads = {code[0] for code in terms(film)}
    return [head for head in DISEASES if head in heads]


def distractors(film: Film, present: Sequence[str], count: int) -> list[str]:
    """Return heads that a film does not have and that name none of its shadows."""
    close = set(present).union(*(group for group in RELATED if group & set(present)))
    free = [head for head in DISEASES if head not in close]
    return sorted(free, key=lambda head: digest(film.image_id, "distractor", head))[:count]


def view_items(film: Film) -> Iterator[Item]:
    """Yield the question on the view: PA, AP or lateral, where the source states which."""
    stated = "Lateral" if film.view == "lateral" else film.projection
    if stated in ("PA", "AP", "Lateral"):
        wrong = [option for option in ("PA", "AP", "Lateral") if option != stated]
        yield make(film, "view", "Which view is this chest X-ray?", stated, wrong)


def disease_items(film: Film) -> Iterator[Item]:
    """Yield the questions on one disease and on the film's whole set of them."""
    present = diseases(film)
    if len(present) == 1:
        question = "Which finding is in this chest X-ray?"
        yield make(film, "disease, single", question, present[0], distractors(film, present, 3))
    if 2 <= len(present) <= 4:
        question = "Which findings are in this chest X-ray?"
        others = distractors(film, present, 3)
        wrong = ["; ".join([*present[:-1], other]) for other in others]
        yield make(film, "disease, several", question, "; ".join(present), wrong)


def sentence(code: Sequence[str]) -> str:
    """Return a code as words, qualifiers first: "small left pleural effusion, base"."""
    head, *rest = code
    graded = [word for word in rest if word in SWAPS["severity"]]
    sided = [word for word in rest if word in ("left", "right")]
    placed = [word for word in rest if word in SWAPS["region"]]
    where = f" in the {' '.join([*sided, *placed])}" if placed else ""
    before = [*graded, *([] if placed else sided)]
    return " ".join([*before, head.lower()]) + where


def fine_items(film: Film) -> Iterator[Item]:
    """Yield pairs of sentences that differ in one word; a pair that both hold is left out."""
    codes = terms(film)
    for kind, swaps in SWAPS.items():
        found = next((pair for code in codes for pair in swapped(code, swaps, codes)), None)
        if found is not None:
            right, wrong = found
            question = "Which statement is true of this chest X-ray?"
            yield make(film, f"fine-grained, {kind}", question, stated(right), [stated(wrong)])


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


def stated(phrase: str) -> str:
    """Return a phrase as a statement."""
    return f"The film shows {phrase}."


def build(films: Iterable[Film], split: str = "val") -> list[Item]:
    """Return the items of a split's IU films; findings are asked on one frontal film a study."""
    chosen = [film for film in films if film.split == split and film.source.startswith(IU)]
    ordered = sorted(chosen, key=lambda f: (f.study_id, f.view != "frontal", f.image_id))
    items: list[Item] = []
    for _, group in groupby(ordered, key=lambda film: film.study_id):
        study = list(group)
        items += view_items(study[digest(study[0].study_id, "view") % len(study)])
        if study[0].view == "frontal":
            items += [*disease_items(study[0]), *fine_items(study[0])]
    return items


def write(items: Sequence[Item], path: Path) -> None:
    """Write items as a JSON list, aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.json")
    rows = [item.model_dump(exclude_none=True) for item in items]
    partial.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> list[Item]:
    """Read a JSON list of items; keys beyond the format's are ignored.

    Raises
    ------
    VqaError
        There is no file, or an item lacks a key or has an answer without an option.
    """
    if not path.is_file():
        raise VqaError(f"no items at {path}", hint="run `cxr-train chexbench build` first")
    try:
        items = [Item.model_validate(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (ValidationError, ValueError, TypeError) as fault:
        raise VqaError(f"{path} is not a list of multiple-choice items") from fault
    if any(item.answer >= len(item.options) for item in items):
        raise VqaError(f"{path} holds an answer without an option")
    return items


def chosen(items: Iterable[Item], limit: int) -> list[Item]:
    """Return ``limit`` items of each slice at most (0: all), chosen by hash."""
    ordered = sorted(items, key=lambda item: digest(item.image_path, item.question))
    taken: Counter[str] = Counter()
    kept = []
    for item in ordered:
        taken[item.slice] += 1
        if not limit or taken[item.slice] <= limit:
            kept.append(item)
    return kept


def choice(item: Item, text: str) -> int:
    """Return the option that an answer names, by letter or by text; `UNPARSABLE` for none.

    An option counts by its text when it is the only one in the answer, longer ones first.
    """
    letter = LETTER.match(text)
    if letter and LETTERS.index(letter.group(1)) < len(item.options):
        return LETTERS.index(letter.group(1))
    said = text.casefold()
    named = [place for place, option in enumerate(item.options) if spoken(option) in said]
    whole = [p for p in named if not any(p != q and holds(item, q, p) for q in named)]
    return whole[0] if len(whole) == 1 else UNPARSABLE


def spoken(option: str) -> str:
    """Return an option as it is looked for: without case and final stop."""
    return option.casefold().strip(" .")


def holds(item: Item, longer: int, shorter: int) -> bool:
    """Tell whether one option's text contains another's."""
    return spoken(item.options[shorter]) in spoken(item.options[longer])
