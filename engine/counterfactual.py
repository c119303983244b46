"""The same report without one finding: what a drawing is to show when the finding is gone."""

from __future__ import annotations

import re

from engine import labeler
from engine.labels.patterns import ABSENT

_SENTENCE = re.compile(r"\S(?:.*?[.!?](?=\s|$)|.*$)", re.DOTALL)
"""To a full stop that ends something: the one in 1.5 cm does not."""


def without(text: str, finding: str) -> str:
    """Return a report from which every sentence that states a finding is gone, and denied instead.

    Returned empty where the report does not state it: there is nothing to take away. Other findings
    of a sentence go with it, since half a sentence may say the opposite.
    """
    stated = [
        mention.span
        for mention in labeler.mentions(text)
        if mention.finding == finding and mention.state != ABSENT
    ]
    if not stated:
        return ""
    kept = [
        part.group().strip()
        for part in _SENTENCE.finditer(text)
        if not any(part.start() < end and start < part.end() for start, end in stated)
    ]
    ended = (part if part.endswith((".", "!", "?")) else f"{part}." for part in kept)
    return " ".join([*ended, f"No {finding.lower()}."])
