"""Patterns of words: how the tables of this package are written and compiled."""

from __future__ import annotations

import re

PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0
"""The states of a mention; None stands for "not mentioned"."""

GAP = r"(?:\s+(?!normal|unremarkable|with\b|but\b|pulmonary|aort\w*|lungs?\b)[\w.']+){0,5}?"
"""Up to five words that do not begin another statement."""


def words(*patterns: str) -> re.Pattern[str]:
    """Compile alternatives into one pattern that begins and ends at the edge of a word.

    A space stands for any run of white space, " ?" for none or more, "~" for `GAP`.
    """
    joined = "|".join(patterns).replace("~", GAP)
    spaced = joined.replace(" ?", r"\s*").replace(" ", r"\s+")
    return re.compile(rf"(?<![a-z])(?:{spaced})(?![a-z])")
