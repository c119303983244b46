"""DICOM file -> the stored values of its one grey frame, or one clear sentence why not."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from engine.codestream import read_frame_header
from engine.errors import PixelError

MAX_PIXELS = 100_000_000

_FAULTS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom and its decoders raise on broken input; each becomes a PixelError."""

NO_MEMORY = "the pixels need more memory than decoding may take"

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


@dataclass(frozen=True)
class StoredFrame:
    """One grey frame as bit patterns (uint16, rows x columns) with what they mean."""

    patterns: NDArray[np.uint16]
    bits_stored: int
    signed: bool


def read_dicom(path: Path) -> FileDataset:
    """Read a DICOM file, with or without preamble and File Meta Information (PS3.10 7.1).

    A headless stream is read with the encoding that its first elements suggest.
    """
    try:
        try:
            ds = dcmread(path)
        except InvalidDicomError:
            ds = dcmread(path, force=True)
        if not ds:
            raise PixelError("the file holds neither DICOM elements nor a PNG or JPEG image")
        ensure_transfer_syntax(ds)
    except _FAULTS as error:
        raise PixelError("the file cannot be read as DICOM") from error
    return ds


def ensure_transfer_syntax(ds: Dataset) -> None:
    """Write the Transfer Syntax UID that a headless dataset leaves out, by looking at it."""
    if getattr(ds, "file_meta", None) is None:
        ds.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = _guess_transfer_syntax(ds)


def decode(ds: Dataset) -> StoredFrame:
    """Return the stored values of a single-frame grey image.

    Raises
    ------
    PixelError
        Not an image, colour, multi-frame, too large, truncated, or not decodable.
    """
    try:
        _check_header(ds)
        ensure_transfer_syntax(ds)
        _check_bytes(ds)
        frame = pixel_array(ds, raw=True, correct_unused_bits=False)
        return _stored_frame(ds, frame)
    except MemoryError as error:
        raise PixelError(NO_MEMORY) from error
    except _FAULTS as error:
        message = f"the pixels ({_encoding(ds)}) cannot be decoded: damaged or not conformant"
        raise PixelError(message) from error


def _encoding(ds: Dataset) -> str:
    """Return the name of the pixel encoding for a sentence."""
    meta = getattr(ds, "file_meta", None)
    syntax = UID(str(meta.get("TransferSyntaxUID", "")) if meta else "")
    known = not syntax.is_private and syntax.name != syntax
    return syntax.name.split(" (")[0] if known else "unknown encoding"


def _guess_transfer_syntax(ds: Dataset) -> UID:
    """Return the transfer syntax that fits how the dataset was read."""
    implicit, little = ds.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    if little is False:
        return ExplicitVRBigEndian
    if "PixelData" not in ds or not getattr(ds["PixelData"], "is_undefined_length", False):
        return ExplicitVRLittleEndian
    header = read_frame_header(get_frame(ds.PixelData, 0, number_of_frames=1))
    return header.transfer_syntax_uid if header else RLELossless


def _check_header(ds: Dataset) -> None:
    """Refuse what is not one grey frame of 8 … 16 bit and at most 100 Mpx (PS3.3 C.7.6.3)."""
    if "PixelData" not in ds:
        raise PixelError("the object holds no pixel data", hint="send the image, not its header")
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise PixelError("the image has no rows or no columns")
    if rows * columns > MAX_PIXELS:
        raise PixelError(f"the image has {rows} x {columns} pixels, more than {MAX_PIXELS:,}")
    if (frames := int(ds.get("NumberOfFrames") or 1)) != 1:
        raise PixelError(f"the object has {frames} frames, not one", hint=_SEND_A_RADIOGRAPH)
    _check_photometric(ds)
    _check_bits(ds)


_SEND_A_RADIOGRAPH = "send a plain chest radiograph (CR or DX)"


def _check_photometric(ds: Dataset) -> None:
    """Refuse colour and palettes: a radiograph has one grey sample a pixel."""
    photometric = str(ds.get("PhotometricInterpretation") or "")
    if not photometric:
        raise PixelError("the header does not say whether black is low or high")
    if photometric not in _GREY or int(ds.get("SamplesPerPixel") or 1) != 1:
        shown = photometric if photometric in _COLOUR else "in colour"
        raise PixelError(f"the image is {shown}, not grey", hint=_SEND_A_RADIOGRAPH)


def _check_bits(ds: Dataset) -> None:
    """Refuse bit layouts that no radiograph has (PS3.5 8.1.1)."""
    allocated, stored, high = _bit_layout(ds)
    if allocated not in (8, 16) or not 2 <= stored <= allocated:
        raise PixelError(f"{stored} of {allocated} bits a pixel are not supported")
    if not stored - 1 <= high < allocated:
        raise PixelError(f"high bit {high} does not fit {stored} of {allocated} bits")


def _bit_layout(ds: Dataset) -> tuple[int, int, int]:
    """Return Bits Allocated, Bits Stored and High Bit, the latter two with their usual default."""
    allocated = int(ds.get("BitsAllocated") or 0)
    stored = int(ds.get("BitsStored") or allocated)
    high = ds.get("HighBit")
    return allocated, stored, stored - 1 if high is None else int(high)


def _check_bytes(ds: Dataset) -> None:
    """Compare what the header promises with the bytes that are there, before any decoding."""
    syntax, pixels = ds.file_meta.TransferSyntaxUID, ds.PixelData
    if not isinstance(pixels, bytes | bytearray):
        raise PixelError("the pixel data are not bytes")
    if syntax.is_encapsulated:
        _check_codestream(ds, get_frame(pixels, 0, number_of_frames=1))
        return
    expected = ds.Rows * ds.Columns * ds.BitsAllocated // 8
    if len(pixels) < expected:
        raise PixelError(f"the pixel data are cut short: {len(pixels)} of {expected} bytes")


def _check_codestream(ds: Dataset, frame: bytes) -> None:
    """Refuse a compressed frame whose own header disagrees with the DICOM header."""
    header = read_frame_header(frame)
    if header is None:
        return
    if (header.rows, header.columns, header.components) != (ds.Rows, ds.Columns, 1):
        raise PixelError(
            f"the compressed frame is {header.rows} x {header.columns} x {header.components}, "
            f"the header says {ds.Rows} x {ds.Columns} x 1"
        )


def _stored_frame(ds: Dataset, frame: NDArray[np.integer]) -> StoredFrame:
    """Cut the stored bits out of what the decoder returned (PS3.5 8.1.1, 8.2).

    Uncompressed words may carry overlay planes above or below the stored bits; a codestream
    carries its own precision, so its values are clamped instead.
    """
    _, stored, high = _bit_layout(ds)
    signed = int(ds.get("PixelRepresentation") or 0) == 1
    mask = (1 << stored) - 1
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLELossless:
        low = -(1 << (stored - 1)) if signed else 0
        words = frame.astype(np.int32).clip(low, low + mask)
    else:
        words = frame.astype(np.int32) >> (high + 1 - stored)
    return StoredFrame((words & mask).astype(np.uint16), stored, signed)
