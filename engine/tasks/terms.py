"""Closed sets of words that an answer may be: side, region, severity, view, course.

Side, region and severity are the labeler's own terms (small is mild, large is severe), so that a
report, a training row and a reply are read by the same tables.
"""

from __future__ import annotations

import re

from engine.labels import attributes

Terms = dict[str, re.Pattern[str]]

BOTH_SIDES = "bilateral"


def terms(words: dict[str, str]) -> Terms:
    """Return patterns of whole words, case ignored, by canonical term."""
    return {key: re.compile(rf"\b(?:{found})\b", re.IGNORECASE) for key, found in words.items()}


SIDE = terms(attributes.SIDES)
REGION = terms(attributes.REGIONS)
SEVERITY = terms(attributes.SEVERITIES)
VIEW = terms({"frontal": "frontal", "lateral": "lateral"})
PROJECTION = terms(
    {
        "PA": "PA|postero-?anterior|posterior[- ]to[- ]anterior",
        "AP": "AP|antero-?posterior|anterior[- ]to[- ]posterior",
    }
)
PROGRESS = terms(
    {
        "improving": r"improv\w+|better|decreas\w+|resol(?:ved|ving)|smaller",
        "stable": r"stable|unchanged|no(?: \w+)? change|the same",
        "worsening": r"worse\w*|progress(?:ed|ing)|increas\w+|larger",
    }
)
FIRST_WORD = re.compile(r"[^\W\d_]+")


def terms_in(family: Terms, text: str) -> list[str]:
    """Return the canonical terms of a family that a text names, in the family's order."""
    return [key for key, pattern in family.items() if pattern.search(text)]


def one_term(family: Terms, text: str) -> str:
    """Return the one term that a text names, ``""`` for none or several.

    Left and right together are both sides.
    """
    found = terms_in(family, text)
    if family is SIDE and len(found) > 1:
        return BOTH_SIDES
    return found[0] if len(found) == 1 else ""


def first_word(text: str) -> str:
    """Return the first word of a text in small letters, ``""`` for none."""
    found = FIRST_WORD.search(text)
    return found.group().lower() if found else ""


def yes_or_no(text: str) -> str:
    """Return ``yes`` or ``no`` by the first word of a text, else ``""``."""
    word = first_word(text)
    return word if word in ("yes", "no") else ""
