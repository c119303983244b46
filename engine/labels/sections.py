"""From a report to the sentences that speak of this film.

All positions are those of the original text: `flatten` replaces characters one for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TO_SPACE = dict.fromkeys(map(ord, "-–—‐‑/\t\r\n\f\v\u00a0"), " ")

LABELLED = (
    r"findings?",
    r"impressions?",
    r"conclusions?",
    r"opinion",
    r"summary",
    r"report",
    r"wet read",
    r"interpretation",
    r"findings? (?:and|or) impressions?",
    r"(?:(?:pa|ap|portable|supine|upright|single|frontal|lateral|semi|erect|two|one|the|chest)"
    r"[ ,]+(?:\w+[ ,]+){0,7})?(?:views?|radiographs?|films?|chest|lat(?:eral)?)"
    r"(?: of the chest| chest)?",
)
"""Headings of what was seen; the last is MIMIC's habit of naming the views instead."""

SKIPPED = (
    r"(?:clinical )?(?:indications?|history|information|data|statement|details)(?: for exam)?",
    r"(?:\w+ )?reason (?:for (?:\w+ )?)?(?:exam(?:ination)?|study|this examination)?",
    r"comparisons?(?: studies)?",
    r"techniques?",
    r"procedures?",
    r"(?:type of )?(?:exam(?:ination)?|study|studies)",
    r"(?:underlying )?medical condition",
    r"notifications?",
    r"recommendations?",
    r"diagnosis",
    r"patient",
    r"symptoms?",
)
"""Headings of what was known, asked or done: nothing there was seen on this film."""

_HEADING = re.compile(
    rf"\b(?:(?P<skipped>{'|'.join(SKIPPED)})|(?P<labelled>{'|'.join(LABELLED)})) *:"
    .replace(" ", r"\s"),
)  # fmt: skip
_SENTENCE_END = re.compile(
    r"(?<!\d)(?<!\d\s)\.(?=\s|$)"
    r"|(?<=\d)\s?\.(?=\s+(?!\d)|$)"
    r"|(?<=[a-z]{2})\.(?=[a-z]{2})"
    r"|[?!;](?=\s|$)"
)


@dataclass(frozen=True)
class Section:
    """A stretch of text under one heading: ``text[start:end]``, heading left out."""

    labelled: bool
    start: int
    end: int


def flatten(text: str) -> str:
    """Return text of the same length, lower-cased, hyphens, slashes and line ends as spaces."""
    lowered = (char.lower() for char in text.translate(_TO_SPACE))
    return "".join(low if len(low) == 1 else " " for low in lowered)


def sections(flat: str) -> list[Section]:
    """Split flattened text at its headings; what stands before the first heading is labelled."""
    headings = list(_HEADING.finditer(flat))
    starts = [0, *(found.end() for found in headings)]
    ends = [*(found.start() for found in headings), len(flat)]
    kinds = [True, *(found["labelled"] is not None for found in headings)]
    return [Section(*parts) for parts in zip(kinds, starts, ends, strict=True)]


def spans(flat: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the sentences of ``flat[start:end]`` as positions, without empty ones."""
    cut = start
    for stop in [*(found.end() for found in _SENTENCE_END.finditer(flat, start, end)), end]:
        lead = len(flat[cut:stop]) - len(flat[cut:stop].lstrip())
        if any(map(str.isalpha, flat[cut:stop])):
            yield cut + lead, cut + len(flat[cut:stop].rstrip())
        cut = stop


def seen(flat: str) -> list[tuple[int, int]]:
    """Return the positions of the sentences that say what was seen on this film.

    Where only headings such as INDICATION stand in the text, the last of them covers one sentence:
    dictations often go on without a new heading.
    """
    parts = sections(flat)
    wanted = [part for part in parts if part.labelled and flat[part.start : part.end].strip()]
    found = [span for part in wanted for span in spans(flat, part.start, part.end)]
    if len(parts) > 1 and not any(part.labelled for part in parts[1:]):
        found += list(spans(flat, parts[-1].start, parts[-1].end))[1:]
    return found
