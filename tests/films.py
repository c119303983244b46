"""DICOM films built from real IU films and their real headers (never committed: `../shared`).

The films are 256 px JPEG, squashed; they are stretched back to the aspect of the original and given
its header, bit depth and photometric interpretation.
"""

from __future__ import annotations

import ast
import csv
import functools
import gzip
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CXR_SHARED", ROOT / ".." / "shared" / "data")).resolve()
CXR = SHARED / "cxr"

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"

needs_films = pytest.mark.skipif(
    not (CXR / "manifest.jsonl").exists(), reason="the shared films are not here (CXR_SHARED)"
)

_COPIED = {
    "AccessionNumber": "Accession Number",
    "BodyPartExamined": "Body Part Examined",
    "Manufacturer": "Manufacturer",
    "PatientBirthDate": "Patient's Birth Date",
    "PatientSex": "Patient's Sex",
    "PatientID": "Patient ID",
    "StudyDate": "Study Date",
    "StudyTime": "Study Time",
    "StudyID": "Study ID",
    "InstanceNumber": "Instance Number",
    "SeriesNumber": "Series Number",
    "ViewPosition": "View Position",
}


@dataclass(frozen=True)
class Film:
    """One IU film: its manifest row and its real header."""

    row: dict[str, Any]
    header: dict[str, str]

    @property
    def pixels(self) -> np.ndarray:
        """The squashed film, uint8 [256, 256], air dark."""
        return np.asarray(PilImage.open(CXR / self.row["file"]).convert("L"))


@functools.cache
def _headers() -> dict[str, dict[str, str]]:
    with gzip.open(CXR / "nlmcxr_dicom_metadata.csv.gz", "rt") as file:
        return {row["imageid"]: row for row in csv.DictReader(file)}


@functools.cache
def _films() -> tuple[Film, ...]:
    headers = _headers()
    rows = map(json.loads, (CXR / "manifest.jsonl").read_text().splitlines())
    paired = ((row, headers.get("CXR" + row["id"].removeprefix("iu_"))) for row in rows)
    return tuple(Film(row, header) for row, header in paired if header is not None)


def films(view: str = "frontal", *, split: str = "val", photometric: str = "") -> list[Film]:
    """Return the films of a view whose real header is known, in order of the manifest."""
    return [
        film
        for film in _films()
        if film.row["view"] == view
        and film.row["split"] == split
        and photometric in film.header["Photometric Interpretation"]
    ]


def uid(*parts: object) -> str:
    """Return a UID of our own making, the same for the same parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def dicom(film: Film, *, size: int = 1024, bits: int | None = None, **changes: Any) -> Dataset:
    """Return a film as a DICOM object with file meta, Explicit VR Little Endian.

    Parameters
    ----------
    size
        Length of the longer side.
    bits
        Bits Stored; None takes those of the original.
    changes
        Elements to set over the header, by keyword.
    """
    header = film.header
    bits = bits or max(8, int(header["Bits Stored"] or 12))
    inverted = header["Photometric Interpretation"] == "MONOCHROME1"
    stored = _stretch(film, size).astype(np.float64) / 255 * (2**bits - 1)
    stored = np.rint(2**bits - 1 - stored if inverted else stored)
    ds = blank(stored.astype(np.uint16 if bits > 8 else np.uint8), bits=bits)
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    for keyword, column in _COPIED.items():
        if header[column]:
            setattr(ds, keyword, header[column])
    ds.SOPClassUID = header["SOP Class UID"]
    ds.Modality = "DX" if ds.SOPClassUID == DX else "CR"
    for level in ("SOP", "Series", "Study"):
        # the redaction put the UIDs under 9999, a root that does not exist
        redacted = header[f"{level} Instance UID"]
        setattr(ds, f"{level}InstanceUID", redacted.replace("9999.", "2.25.", 1))
    ds.PatientName = header["Patient's Name"] or "Doe^Jane"
    ds.ImageType = ast.literal_eval(header["Image Type"] or "['ORIGINAL', 'PRIMARY']")
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def _stretch(film: Film, size: int) -> np.ndarray:
    """Undo the squash: stretch the film to the aspect of the original."""
    height, width = (int(film.header[name] or 1) for name in ("Rows", "Columns"))
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    stretched = PilImage.fromarray(film.pixels).resize(shape, PilImage.Resampling.BICUBIC)
    return np.asarray(stretched)


def blank(stored: np.ndarray, *, bits: int) -> Dataset:
    """Return a complete CR object of a phantom patient around some stored values."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CR
    ds.SOPInstanceUID = uid("instance", stored.tobytes())
    ds.Modality = "CR"
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate"):
        setattr(ds, keyword, "")
    for keyword in ("PatientSex", "Manufacturer", "StudyDate", "StudyTime", "PatientID"):
        setattr(ds, keyword, "")
    ds.PatientName = "Phantom^Chest"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.StudyInstanceUID = uid("study", stored.tobytes())
    ds.SeriesInstanceUID = uid("series", stored.tobytes())
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated = 8 * stored.itemsize
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def phantom(name: object = 0, *, size: int = 64, **changes: Any) -> Dataset:
    """Return a small synthetic film that needs no shared folder; each name its own study."""
    row, column = np.mgrid[0:size, 0:size] / size
    stored = (2000 * column + 1500 * np.cos(row * 6) ** 2 + len(str(name))).astype(np.uint16)
    ds = blank(stored, bits=12)
    for level in ("Study", "Series"):
        setattr(ds, f"{level}InstanceUID", uid(level, name))
    ds.SOPInstanceUID = uid("instance", name)
    ds.PatientID = f"PH{name}"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds
