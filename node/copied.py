"""Patient and study attributes, copied by value from the source into what we make.

Text is decoded with the source's character set and written in ISO_IR 192. Where one value cannot
be decoded, the bytes and the character set of the source are kept instead: a viewer then shows the
same name for both, and no letter is ever replaced by a question mark.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import VR

UTF_8 = "ISO_IR 192"

PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
STUDY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "StudyID",
)
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)

_TEXT_VRS = frozenset((VR.LO, VR.LT, VR.PN, VR.SH, VR.ST, VR.UC, VR.UT))
_DELIMITERS = {ord(character) for character in "^=\\\r\n\f\t"}
_ESCAPE = re.compile(r"\x1b(?:\$?[()\-][0-9A-Z@]|\$[@AB])")
_DEFAULT_REPERTOIRE = ("", "ISO_IR 6", "ISO 2022 IR 6")
_PATTERNS: dict[str, re.Pattern[str]] = {
    VR.AS: re.compile(r"\d{3}[DWMY]"),
    VR.DA: re.compile(r"(?:1[89]|2\d)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"),
    VR.DS: re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"),
    VR.TM: re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,6})?)?)?"),
    VR.UI: re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+"),
}
"""Values that a reader can rely on (PS3.5 6.2); others are left out rather than passed on."""
_MAX_LENGTH: dict[str, int] = {VR.SH: 16}
"""A longer short string is left out: half an accession number is another accession number."""
_OLD_DATE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")
_SEXES = ("M", "F", "O")


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy the attributes of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1).

    Sets Specific Character Set. What is of type 2 and absent or unusable becomes empty.
    """
    charsets = charsets_of(source)
    raw = not _all_decodable(source, charsets)
    if raw:
        _keep_character_set(target, charsets)
    else:
        target.SpecificCharacterSet = UTF_8
    for keyword in (*PATIENT, *STUDY):
        element = _copied(source, keyword, charsets, raw=raw)
        if element is not None:
            target[element.tag] = element
    for keyword in _TYPE_2:
        if keyword not in target:
            setattr(target, keyword, "")


def _keep_character_set(target: Dataset, charsets: tuple[str, ...]) -> None:
    """Take over the character set of the source, so that bytes can be written as they are."""
    encodings = convert_encodings(list(charsets)) if charsets else None
    if charsets:
        target.SpecificCharacterSet = list(charsets)
    target.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=encodings
    )


def own_text(target: Dataset, text: str) -> str:
    """Return text of ours so that the character set of the target can hold it."""
    cleaned = clean(text)
    if target.get("SpecificCharacterSet") == UTF_8:
        return cleaned
    decomposed = unicodedata.normalize("NFKD", cleaned)
    return decomposed.encode("ascii", "ignore").decode()


def clean(text: str) -> str:
    """Return text as one line: no control characters, no stray surrogates, single spaces."""
    kept = (" " if _is_control(character) else character for character in text)
    return " ".join("".join(kept).split())


def charsets_of(source: Dataset) -> tuple[str, ...]:
    """Return the values of Specific Character Set, none where it is absent or empty."""
    value = source.get("SpecificCharacterSet")
    terms = [value] if isinstance(value, str) else list(value or ())
    return tuple(str(term or "") for term in terms) if any(terms) else ()


def copy_items(source: Dataset, keyword: str, required: Sequence[str]) -> list[Dataset]:
    """Return copies of those items of a sequence that hold all the required attributes."""
    items = source.get(keyword) or []
    charsets = charsets_of(source)
    copies = (_copied_item(item, charsets) for item in items)
    return [copy for copy in copies if all(copy.get(name) for name in required)]


def text_of(source: Dataset, keyword: str) -> str:
    """Return one text attribute, decoded; empty where it is absent or cannot be decoded."""
    value = _stored(source, keyword)
    return (_decoded(value, charsets_of(source)) if value else None) or ""


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Cn", "Zl", "Zp")


def _all_decodable(source: Dataset, charsets: tuple[str, ...]) -> bool:
    """Return whether every text attribute that we copy can be decoded without loss."""
    texts = (name for name in (*PATIENT, *STUDY) if dictionary_VR(name) in _TEXT_VRS)
    values = (_stored(source, name) for name in texts)
    return all(value is None or _decoded(value, charsets) is not None for value in values)


def _stored(source: Dataset, keyword: str | BaseTag) -> bytes | str | None:
    """Return a value as it stands: bytes where pydicom has not decoded it, else text."""
    tag = _tag(keyword)
    if tag not in source:
        return None
    element: Any = source.get_item(tag)
    if isinstance(element, RawDataElement):
        return bytes(element.value or b"")
    return _as_text(element.value)


def _tag(keyword: str | BaseTag) -> BaseTag:
    return keyword if isinstance(keyword, BaseTag) else Tag(tag_for_keyword(keyword) or 0)


def _as_text(value: object) -> str:
    """Return a value that pydicom has decoded as the text it came from."""
    if value is None:
        return ""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return str(value)
    parts = list(value)
    whole = not parts or (isinstance(parts[0], str) and len(parts[0]) == 1)
    return str(value) if whole else "\\".join(str(part) for part in parts)


def _decoded(value: bytes | str, charsets: tuple[str, ...]) -> str | None:
    """Return decoded text, or None where that would lose something (PS3.5 6.1.2)."""
    if isinstance(value, str):
        return None if "\ufffd" in value else value
    stripped = value.rstrip(b" \0")
    if stripped.isascii() and b"\x1b" not in stripped:
        return stripped.decode("ascii").strip(" ")
    if len(charsets) <= 1:
        return _decoded_simply(stripped, charsets[0] if charsets else "")
    if any(term and term not in python_encoding for term in charsets):
        return None
    return _decoded_with_extensions(stripped, charsets)


def _decoded_with_extensions(value: bytes, charsets: tuple[str, ...]) -> str | None:
    """Decode text that switches character sets (PS3.5 6.1.2.5); pydicom leaves some escapes in."""
    text = decode_bytes(value, convert_encodings(list(charsets)), _DELIMITERS)
    text = _ESCAPE.sub("", text)
    return None if "\ufffd" in text or "\x1b" in text else text.strip(" ")


def _decoded_simply(value: bytes, charset: str) -> str | None:
    """Decode text of one character set.

    Eight-bit text that declares no character set is read as ISO_IR 100, as viewers do: no byte
    is lost by it, whatever the letters were meant to be.
    """
    if charset in _DEFAULT_REPERTOIRE:
        undeclared = value.decode("latin-1")
        return None if any(map(_is_control, undeclared)) else undeclared.strip(" ")
    if charset not in python_encoding:
        return None
    if b"\x1b" in value:
        return _decoded_with_extensions(value, (charset,))
    try:
        return value.decode(python_encoding[charset]).strip(" ")
    except UnicodeDecodeError:
        return None


def _copied(
    source: Dataset, keyword: str | BaseTag, charsets: tuple[str, ...], *, raw: bool
) -> DataElement | RawDataElement | None:
    """Return a copy of one element, or None where there is nothing worth copying."""
    tag = _tag(keyword)
    vr = dictionary_VR(tag)
    if vr == VR.SQ:
        return _copied_sequence(source, tag, charsets)
    value = _stored(source, tag)
    if value is None:
        return None
    if raw and vr in _TEXT_VRS and isinstance(value, bytes):
        padded = value + b" " * (len(value) % 2)
        return RawDataElement(tag, vr, len(padded), padded, 0, False, True, True)
    text = _decoded(value, charsets) if vr in _TEXT_VRS else _plain(value)
    if text is None or not _is_usable(tag, vr, text):
        return None
    return DataElement(tag, vr, _modern(vr, text), validation_mode=config.IGNORE)


def _plain(value: bytes | str) -> str | None:
    """Return the value of an element that holds no text in any language."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return text.strip(" \0")


def _modern(vr: str, text: str) -> str:
    """Return a date of ACR-NEMA times as YYYYMMDD (PS3.5 6.2, note to DA)."""
    return _OLD_DATE.sub(r"\1\2\3", text) if vr == VR.DA else text


def _is_usable(tag: BaseTag, vr: str, text: str) -> bool:
    """Return whether a value obeys its VR; free text always does."""
    if tag == tag_for_keyword("PatientSex"):
        return text in _SEXES
    if len(text) > _MAX_LENGTH.get(vr, len(text)):
        return False
    pattern = _PATTERNS.get(vr)
    return not text or pattern is None or pattern.fullmatch(_modern(vr, text)) is not None


def _copied_sequence(
    source: Dataset, tag: BaseTag, charsets: tuple[str, ...]
) -> DataElement | None:
    """Return a copy of a sequence that holds at least one item with something in it."""
    found: Sequence[Dataset] = source[tag].value if tag in source else ()
    items = [_copied_item(item, charsets) for item in found or ()]
    kept = [item for item in items if item]
    return DataElement(tag, VR.SQ, ItemSequence(kept)) if kept else None


def _copied_item(item: Dataset, charsets: tuple[str, ...]) -> Dataset:
    """Return a copy of an item; an item may have a character set of its own (PS3.3 C.12.1.1.2)."""
    inner = charsets_of(item) or charsets
    copy = Dataset()
    for tag in list(item.keys()):
        if tag.is_private or tag == tag_for_keyword("SpecificCharacterSet"):
            continue
        try:
            element = _copied(item, tag, inner, raw=False)
        except KeyError:
            continue
        if element is not None and _has_value(element):
            copy[tag] = element
    return copy


def _has_value(element: DataElement | RawDataElement) -> bool:
    return element.value not in (None, "", b"")
