"""The size that a compressed frame says it has, read without decoding it.

A decoder allocates what the codestream asks for, not what the DICOM header says; comparing the
two first keeps a forged frame from taking the memory of the machine.
"""

from __future__ import annotations

from typing import NamedTuple

from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

_J2K_START = b"\xff\x4f\xff\x51"
_JP2_BOX = b"\x00\x00\x00\x0cjP  "
_JPEG_START = b"\xff\xd8"
_NOT_FRAME_HEADERS = frozenset({0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SYNTAX_BY_MARKER = {
    0xC0: JPEGBaseline8Bit,
    0xC1: JPEGExtended12Bit,
    0xC3: JPEGLosslessSV1,
    0xF7: JPEGLSLossless,
}


class FrameHeader(NamedTuple):
    """What the header of a codestream declares."""

    rows: int
    columns: int
    components: int
    transfer_syntax_uid: UID


def read_frame_header(frame: bytes) -> FrameHeader | None:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 frame, or None for anything else.

    References
    ----------
    ITU-T T.81 B.2.2 (SOF), ITU-T T.87 C.2.2 (SOF55), ITU-T T.800 A.5.1 (image and tile size).
    """
    if frame.startswith(_JPEG_START):
        return _read_jpeg(frame)
    start = frame.find(_J2K_START, 0, 4096) if frame.startswith(_JP2_BOX) else 0
    if start >= 0 and frame.startswith(_J2K_START, start):
        return _read_j2k(frame[start : start + 64])
    return None


def _read_j2k(header: bytes) -> FrameHeader | None:
    """Read the image size marker segment: extent minus offset."""
    if len(header) < 42:
        return None
    x_end, y_end, x_start, y_start = (
        int.from_bytes(header[at : at + 4], "big") for at in (8, 12, 16, 20)
    )
    components = int.from_bytes(header[40:42], "big")
    return FrameHeader(y_end - y_start, x_end - x_start, components, JPEG2000Lossless)


def _read_jpeg(frame: bytes) -> FrameHeader | None:
    """Walk the marker segments up to the frame header."""
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif _is_frame_header(marker):
            return _read_sof(marker, frame[at + 4 : at + 10])
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _is_frame_header(marker: int) -> bool:
    return marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS)


def _read_sof(marker: int, segment: bytes) -> FrameHeader:
    """Read precision, lines, samples per line and components of a frame header."""
    rows = int.from_bytes(segment[1:3], "big")
    columns = int.from_bytes(segment[3:5], "big")
    syntax = _SYNTAX_BY_MARKER.get(marker, JPEGExtended12Bit)
    return FrameHeader(rows, columns, segment[5], syntax)
