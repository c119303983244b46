"""Content items of a structured report, one constructor a value type (PS3.3 C.17.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydicom.dataset import Dataset

from node.codes import Code

Relationship = Literal[
    "CONTAINS", "HAS OBS CONTEXT", "HAS CONCEPT MOD", "INFERRED FROM", "HAS PROPERTIES"
]


def _item(relationship: Relationship, value_type: str, name: Code) -> Dataset:
    """Return an item with the attributes that every value type has; all of ours are named."""
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [name.item()]
    return item


def container(relationship: Relationship, name: Code, content: Sequence[Dataset]) -> Dataset:
    """Return a CONTAINER whose items are read one by one (PS3.3 C.18.8)."""
    item = _item(relationship, "CONTAINER", name)
    item.ContinuityOfContent = "SEPARATE"
    item.ContentSequence = list(content)
    return item


def text(
    relationship: Relationship, name: Code, value: str, inferred_from: Sequence[Dataset] = ()
) -> Dataset:
    """Return a TEXT item (PS3.3 C.18.7), with what it was inferred from."""
    item = _item(relationship, "TEXT", name)
    item.TextValue = value
    if inferred_from:
        item.ContentSequence = list(inferred_from)
    return item


def code(relationship: Relationship, name: Code, value: Code) -> Dataset:
    """Return a CODE item (PS3.3 C.18.2)."""
    item = _item(relationship, "CODE", name)
    item.ConceptCodeSequence = [value.item()]
    return item


def uid_reference(relationship: Relationship, name: Code, uid: str) -> Dataset:
    """Return a UIDREF item (PS3.3 C.18.6)."""
    item = _item(relationship, "UIDREF", name)
    item.UID = uid
    return item


def image(relationship: Relationship, name: Code, referenced: Dataset) -> Dataset:
    """Return an IMAGE item that points at an instance (PS3.3 C.18.4)."""
    item = _item(relationship, "IMAGE", name)
    item.ReferencedSOPSequence = [sop_reference(referenced)]
    return item


def sop_reference(referenced: Dataset) -> Dataset:
    """Return the SOP Instance Reference of an instance (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = referenced.SOPClassUID
    item.ReferencedSOPInstanceUID = referenced.SOPInstanceUID
    return item
