"""What the draft says as sections of plain sentences, for what is no DICOM SR. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.codes import ADDENDUM, Code
from node.copied import clean
from node.sr_document import BANNER
from node.sr_narrative import Words
from node.sr_review import EDITED

INDICATION: Final = Code("18785-6", "LN", "Radiology Reason for study (narrative)")
COMPARISON: Final = Code("18834-2", "LN", "Radiology Comparison study (narrative)")
FINDINGS: Final = Code("59776-5", "LN", "Procedure findings Narrative")
IMPRESSION: Final = Code("19005-8", "LN", "Radiology Imaging study [Impression] (narrative)")
"""CID 7001, the headings in LOINC: systems that speak no DICOM know no others."""

DRAFTED: Final = (FINDINGS, IMPRESSION)
"""The sections that the model wrote; the others come from the film's header."""


@dataclass(frozen=True)
class Part:
    """A section of the draft."""

    heading: str
    code: Code
    sentences: Sequence[str]


def banner_of(words: Words) -> str:
    """Return the warning: it never says that software wrote what a person did."""
    return EDITED if EDITED in words.addendum else BANNER


def parts_of(words: Words) -> tuple[Part, ...]:
    """Return the sections that say something, each sentence on one line."""
    sections = (
        ("Indication", INDICATION, words.indication),
        ("Comparison", COMPARISON, words.comparison),
        ("Findings", FINDINGS, (*words.findings, *words.remarks)),
        ("Impression", IMPRESSION, words.impression),
        ("Addendum", ADDENDUM, words.addendum),
    )
    cleaned = (
        Part(heading, code, [text for one in sentences if (text := clean(one))])
        for heading, code, sentences in sections
    )
    return tuple(part for part in cleaned if part.sentences)
