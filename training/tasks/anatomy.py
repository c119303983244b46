"""Which anatomical section a sentence of a report belongs to, by its words."""

from __future__ import annotations

from collections.abc import Mapping

from engine.labels.patterns import words
from engine.labels.sections import flatten
from engine.tasks.registry import SECTIONS
from training.sections import sentences

_PATTERNS = (
    words(r"trachea\w*", r"airways?", r"bronch(?:us|i|ial)", r"carina", r"hil(?:a|ar|um)",
          r"endotracheal", r"tracheostomy"),
    words(r"lungs?", r"pulmonary(?! vasc)", r"airspaces?", r"air space", r"pleura\w*",
          r"effusions?", r"pneumothora\w+", r"consolidat\w+", r"infiltrat\w+", r"opaci\w+",
          r"atelecta\w+", r"nodul\w+", r"mass(?:es)?", r"pneumonia", r"lobes?",
          r"interstiti\w+", r"granulom\w+", r"emphysem\w+", r"costophrenic",
          r"apices", r"apical", r"hyper ?(?:inflat|expan)\w+"),
    words(r"heart", r"cardi\w+", r"mediastin\w+", r"aort\w+", r"vascul\w+", r"pericardi\w+"),
    words(r"diaphragm\w*", r"hemidiaphragm\w*", r"subdiaphragmatic", r"free air", r"hernia\w*",
          r"eventration", r"abdom\w+", r"stomach", r"gastric"),
    words(r"bon(?:es?|y)", r"osseous", r"ribs?", r"spin(?:e|al)", r"vertebra\w*", r"skelet\w+",
          r"fractur\w+", r"clavic\w+", r"scolio\w+", r"soft tissues?", r"degenerat\w+",
          r"thoracic spine", r"catheters?", r"tubes?", r"lines?", r"pacemaker\w*", r"sternotomy",
          r"clips?", r"shoulders?", r"osteophyt\w*", r"devices?"),
)  # fmt: skip
NAMES = frozenset(
    {"a", "and", "are", "aorta", "aortic", "bony", "cardiac", "cardiomediastinal", "chest",
     "contour", "contours", "heart", "is", "lung", "lungs", "mediastinal", "mediastinum", "of",
     "osseous", "pulmonary", "silhouette", "size", "structures", "the", "thoracic", "vascularity",
     "vasculature", "volumes"}
)  # fmt: skip
"""Words that name a structure and say nothing of it."""
PATTERNS = dict(zip(SECTIONS, _PATTERNS, strict=True))


def sections_in(sentence: str) -> list[str]:
    """Return the sections that a sentence speaks of, in reading order."""
    flat = flatten(sentence)
    return [name for name, pattern in PATTERNS.items() if pattern.search(flat)]


def by_section(findings: str) -> Mapping[str, str]:
    """Return the sentences of each section that has one of its own.

    A sentence on two sections stands under both; a section that only shares sentences is left out,
    since what else it shows was not written down apart.
    """
    found: dict[str, list[str]] = {}
    owned: set[str] = set()
    for sentence in filter(says_something, sentences(findings)):
        named = sections_in(sentence)
        owned |= set(named) if len(named) == 1 else set()
        for name in named:
            found.setdefault(name, []).append(sentence)
    return {name: " ".join(found[name]) for name in SECTIONS if name in owned}


def says_something(sentence: str) -> bool:
    """Tell whether a sentence is more than a name: cleaning leaves some that say no more."""
    return not set(flatten(sentence).strip(" .").split()) <= NAMES
