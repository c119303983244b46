"""The attributes that are read as the indication, for the conformance statement."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag

from node.indication import DESCRIPTIONS, REASON_CODES, REASONS

_IN_REQUEST = "header, and items of Request Attributes Sequence"
_IN_HEADER = "header, where it speaks of a complaint or a question"


def attributes_read() -> Iterator[tuple[str, str, str]]:
    """Yield tag, name and place of each attribute."""
    places = (
        *((keyword, _IN_REQUEST) for keyword in (*REASONS, *REASON_CODES)),
        *((keyword, _IN_HEADER) for keyword in DESCRIPTIONS),
    )
    for keyword, place in places:
        tag = Tag(tag_for_keyword(keyword) or 0)
        yield f"({tag.group:04X},{tag.element:04X})", dictionary_description(tag), place
