"""Generated text to a report: sections, sentences, nothing invented."""

from __future__ import annotations

import re

HEADING = re.compile(r"\b(findings|impression)\s*:", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")


def sentences(text: str) -> tuple[str, ...]:
    """Split text into sentences; a sentence that repeats an earlier one is dropped."""
    seen: dict[str, str] = {}
    for part in SENTENCE_END.split(" ".join(text.split())):
        if any(char.isalnum() for char in part):
            seen.setdefault(part.lower().rstrip("."), part)
    return tuple(seen.values())


def parse(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sentences of findings and impression; text without headings is findings."""
    parts = HEADING.split(text)
    sections: dict[str, str] = {"findings": parts[0], "impression": ""}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        sections[name.lower()] += " " + body
    return sentences(sections["findings"]), sentences(sections["impression"])
