"""What a received instance must be before it is taken in. Pure: bytes in, verdict out."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BytesIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from node.encoded import PIXEL_DATA, DatasetWalk
from node.errors import CANNOT_UNDERSTAND, MISMATCH, IntakeRefused
from node.redact import patient_digest
from node.rules import own_output

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "Manufacturer",
    "SyntheticData",
    "PatientID",
    "IssuerOfPatientID",
    "ContributingEquipmentSequence",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
"""What the verdict on an instance rests on; nothing else of its header is read."""
KEPT_TAGS = frozenset(tag_for_keyword(keyword) or 0 for keyword in _KEYWORDS)
_UNREADABLE = (
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    KeyError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom raises on a header that it cannot read, an open list of builtin errors."""


@dataclass(frozen=True)
class Command:
    """What the C-STORE request and its presentation context say (PS3.7 section 9.1.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True)
class Header:
    """What the node needs to know of an accepted instance."""

    study_uid: str
    series_uid: str
    patient_digest: str


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID: digits and dots, at most 64 characters (PS3.5 section 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _at_pixel_data(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag >= PIXEL_DATA)


def read_header(buffer: BytesIO, transfer_syntax_uid: str) -> Dataset:
    """Read an encoded data set up to its pixel data.

    Raises
    ------
    IntakeRefused
        With status 0xC000 where the header cannot be read.
    """
    syntax = UID(transfer_syntax_uid)
    buffer.seek(0)
    try:
        return read_dataset(
            buffer,
            is_implicit_VR=syntax.is_implicit_VR,
            is_little_endian=syntax.is_little_endian,
            stop_when=_at_pixel_data,
        )
    except _UNREADABLE as error:
        raise IntakeRefused(CANNOT_UNDERSTAND, "the header cannot be read") from error


def _text(ds: Dataset, keyword: str) -> str:
    """Return the text of an element, empty where it is absent."""
    try:
        value = ds.get(keyword)
    except _UNREADABLE as error:
        raise IntakeRefused(CANNOT_UNDERSTAND, f"{keyword} cannot be read") from error
    return "" if value is None else str(value)


def _uid(ds: Dataset, keyword: str) -> str:
    """Return a UID that must be there and well formed."""
    uid = _text(ds, keyword)
    if not is_uid(uid):
        state = "is malformed" if uid else "is missing"
        raise IntakeRefused(CANNOT_UNDERSTAND, f"{keyword} {state}")
    return uid


def check_command(command: Command) -> None:
    """Check what is known before the first byte of the data set.

    Raises
    ------
    IntakeRefused
        0xC000 where a UID is malformed.
    """
    if not is_uid(command.sop_class_uid) or not is_uid(command.sop_instance_uid):
        raise IntakeRefused(CANNOT_UNDERSTAND, "a UID of the command is malformed")


def examine(command: Command, walk: DatasetWalk, *, accept_synthetic: bool) -> Header:
    """Judge an instance that was walked over to its end.

    Parameters
    ----------
    walk
        It kept `KEPT_TAGS`.

    Raises
    ------
    IntakeRefused
        0xC000 where the data set is not whole or a UID is malformed; 0xA900 where it is not
        what the command says, or is an object that this node (or another model) made.
    """
    walk.finish()
    if PIXEL_DATA not in walk.tags:
        raise IntakeRefused(CANNOT_UNDERSTAND, "the data set is broken: it holds no pixel data")
    ds = read_header(BytesIO(walk.kept), command.transfer_syntax_uid)
    _check_same(ds, command)
    reason = own_output(ds, accept_synthetic=accept_synthetic)
    if reason:
        raise IntakeRefused(
            MISMATCH,
            f"not an image to report on: {reason}",
            hint="exclude this node's series from the route that sends to it",
        )
    return Header(
        study_uid=_uid(ds, "StudyInstanceUID"),
        series_uid=_uid(ds, "SeriesInstanceUID"),
        patient_digest=patient_digest(_text(ds, "PatientID"), _text(ds, "IssuerOfPatientID")),
    )


def _check_same(ds: Dataset, command: Command) -> None:
    """Check that the data set is the object that the command announced (PS3.4 section B.2.3)."""
    if _text(ds, "SOPClassUID") != command.sop_class_uid:
        raise IntakeRefused(MISMATCH, "SOPClassUID differs from the command's")
    if _text(ds, "SOPInstanceUID") != command.sop_instance_uid:
        raise IntakeRefused(MISMATCH, "SOPInstanceUID differs from the command's")
