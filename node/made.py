"""What a draft becomes, as the bytes that are kept and that leave the node."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite


@dataclass(frozen=True)
class Made:
    """A DICOM object, or a message of another standard."""

    uid: str
    """SOP Instance UID; a message has a derived UID all the same, by which a retry knows it."""
    sop_class_uid: str
    """Empty where this is no DICOM object."""
    content: bytes
    suffix: str = ".dcm"

    @classmethod
    def of(cls, ds: Dataset) -> Made:
        """Return an object as the file that it becomes (PS3.10 section 7)."""
        buffer = BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        return cls(str(ds.SOPInstanceUID), str(ds.SOPClassUID), buffer.getvalue())
