"""Findings and places as they stand in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from engine.errors import TaskError
from engine.findings import FINDINGS
from engine.tasks.terms import BOTH_SIDES


def article(word: str) -> str:
    """Return the indefinite article of a word."""
    return "an" if word[0].lower() in "aeiou" else "a"


@dataclass(frozen=True)
class Noun:
    """A finding as it stands in a sentence; ``plural`` is empty for what cannot be counted."""

    singular: str
    plural: str = ""
    has_size: bool = False

    def phrase(self, severity: str = "", side: str = "") -> str:
        """Return the noun with its article: "a small left pleural effusion"."""
        is_plural = side == BOTH_SIDES and bool(self.plural)
        words = [self.degree(severity), side, self.plural if is_plural else self.singular]
        spoken = " ".join(filter(None, words))
        if is_plural or not self.plural:
            return spoken
        return f"{article(spoken)} {spoken}"

    def degree(self, severity: str) -> str:
        """Return the word for a severity: things with a size are small or large."""
        sizes = {"mild": "small", "severe": "large"}
        return sizes.get(severity, severity) if self.has_size else severity


NOUNS: dict[str, Noun] = {
    "Enlarged Cardiomediastinum": Noun("widening of the mediastinum"),
    "Cardiomegaly": Noun("cardiomegaly"),
    "Lung Lesion": Noun("lung lesion", "lung lesions", has_size=True),
    "Lung Opacity": Noun("lung opacity", "lung opacities"),
    "Edema": Noun("pulmonary edema"),
    "Consolidation": Noun("consolidation"),
    "Pneumonia": Noun("pneumonia"),
    "Atelectasis": Noun("atelectasis"),
    "Pneumothorax": Noun("pneumothorax", "pneumothoraces", has_size=True),
    "Pleural Effusion": Noun("pleural effusion", "pleural effusions", has_size=True),
    "Pleural Other": Noun("pleural thickening or scarring"),
    "Fracture": Noun("fracture", "fractures"),
    "Support Devices": Noun("medical device", "medical devices"),
}
PLACES = {
    "apex": "lung apex",
    "upper": "upper lung",
    "middle": "middle lung",
    "lower": "lower lung",
    "base": "lung base",
    "perihilar": "perihilar region",
    "retrocardiac": "retrocardiac region",
}
NOTHING = "No finding"
"""How a list of no findings is said."""


def noun(finding: str) -> str:
    """Return a finding of `engine.findings` as a noun."""
    return NOUNS[finding].singular


def finding_named(text: str) -> str:
    """Return the finding of `engine.findings` that a person means.

    Raises
    ------
    TaskError
        It is none of them.
    """
    said = " ".join(text.casefold().split())
    for name, known in NOUNS.items():
        if said and said in (name.casefold(), known.singular, known.plural):
            return name
    raise TaskError(f"no finding is called {text.strip()!r}", hint="one of: " + ", ".join(NOUNS))


def spoken(findings: Collection[str]) -> str:
    """Return findings as a list of nouns, in the order of `engine.findings`, with a full stop."""
    named = [noun(name) for name in FINDINGS[1:] if name in findings]
    text = ", ".join(named) or NOTHING
    return f"{text[:1].upper()}{text[1:]}."


def listed(options: Sequence[str]) -> str:
    """Return options under letters: "(A) … (B) …"."""
    return " ".join(
        f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)
    )


LETTERS = "ABCDEFGH"
"""The letters that options stand under; so many options a question may have."""
