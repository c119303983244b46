"""What people add to a draft report: that they edited it, and their questions with the answers.

Pure. The section is headed (55107-7, LN, "Addendum") of CID 7001, for it was added to the draft
after it was made, and says so: under Findings an extractor would take it for what the model
reported, and Clinical Information is what the referrer knew beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from node import codes, sr_items
from node.copied import own_text
from node.records import Review
from node.sr_document import BANNER

EDITED: Final = (
    "AI DRAFT, EDITED BY A PERSON - NOT VERIFIED. Findings and impression are no longer what the "
    "software wrote; no radiologist has signed them."
)
ASKED: Final = (
    "AI ANSWERS - NOT VERIFIED. Questions asked of the software about this film, and its answers."
)


def add_review(ds: Dataset, review: Review | None) -> None:
    """Append the section to a draft report; nothing where there was no review.

    The warning that heads every section says from then on who wrote it. Neither flags nor
    observers change: the document stays an unverified draft by a device (PS3.3 C.17.2), and an
    edit names nobody who could be taken for a verifying observer.
    """
    if review is None:
        return
    if review.is_edited:
        restate(ds)
    items = [
        sr_items.text("CONTAINS", codes.FINDING, text)
        for line in lines_of(review)
        if (text := own_text(ds, line))
    ]
    ds.ContentSequence.append(sr_items.container("CONTAINS", codes.ADDENDUM, items))


def restate(ds: Dataset) -> None:
    """Let no section say that software wrote what a person did."""
    for item in ds.get("ContentSequence") or ():
        restate(item)
        if item.get("TextValue") == BANNER:
            item.TextValue = EDITED


def lines_of(review: Review) -> Iterator[str]:
    """Yield what the section says, a sentence a line."""
    if review.is_edited:
        yield EDITED
    if review.answers:
        yield ASKED
    for question, answer in review.answers:
        yield f"Question: {question} Answer: {answer}"
