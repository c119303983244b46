"""The draft as sections of plain sentences, for what is no DICOM SR. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.results import DraftReport
from node.codes import ADDENDUM, Code
from node.copied import clean

FINDINGS = Code("59776-5", "LN", "Procedure findings Narrative")
IMPRESSION = Code("19005-8", "LN", "Radiology Imaging study [Impression] (narrative)")
"""CID 7001, the headings in LOINC: systems that speak no DICOM know no others."""


@dataclass(frozen=True)
class Part:
    """A section of the draft."""

    heading: str
    code: Code
    sentences: Sequence[str]


def parts_of(draft: DraftReport) -> tuple[Part, ...]:
    """Return the sections that say something, each sentence on one line."""
    sections = (
        ("Findings", FINDINGS, draft.findings),
        ("Impression", IMPRESSION, draft.impression),
        ("Addendum", ADDENDUM, draft.addendum),
    )
    cleaned = (
        Part(heading, code, [text for one in sentences if (text := clean(one))])
        for heading, code, sentences in sections
    )
    return tuple(part for part in cleaned if part.sentences)
