"""Is an encoded data set complete? A walk over its elements that reads no value.

An acknowledged instance must be whole, so the walk steps from element to element by length,
down into sequences and fragments of undefined length, and refuses bytes that end early, lengths
that point past the end, and nesting beyond any real object (PS3.5 section 7 and annex A.4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node.errors import CANNOT_UNDERSTAND, IntakeRefused

MAX_NESTING = 64
PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


@dataclass(frozen=True)
class _Element:
    tag: int
    vr: bytes
    length: int
    value_at: int


def _refuse(reason: str) -> IntakeRefused:
    return IntakeRefused(CANNOT_UNDERSTAND, f"the data set is broken: {reason}")


class _Walk:
    """The buffer, its byte order, and the two shapes of an element header."""

    def __init__(self, buffer: memoryview, *, little_endian: bool) -> None:
        self._buffer = buffer
        self._size = len(buffer)
        order = "<" if little_endian else ">"
        self._tag = struct.Struct(f"{order}HH")
        self._long = struct.Struct(f"{order}L")
        self._short = struct.Struct(f"{order}H")

    def element(self, at: int, *, implicit: bool) -> _Element:
        """Read the header of the element at an offset (PS3.5 section 7.1)."""
        if at + 8 > self._size:
            raise _refuse("it ends inside an element header")
        group, number = self._tag.unpack_from(self._buffer, at)
        tag = group << 16 | number
        if implicit or group == 0xFFFE:
            return self._bounded(tag, b"", self._long.unpack_from(self._buffer, at + 4)[0], at + 8)
        vr = bytes(self._buffer[at + 4 : at + 6])
        if vr in _SHORT_VRS:
            return self._bounded(tag, vr, self._short.unpack_from(self._buffer, at + 6)[0], at + 8)
        if vr not in _LONG_VRS:
            raise _refuse("an element has no valid VR")
        if at + 12 > self._size:
            raise _refuse("it ends inside an element header")
        return self._bounded(tag, vr, self._long.unpack_from(self._buffer, at + 8)[0], at + 12)

    def _bounded(self, tag: int, vr: bytes, length: int, value_at: int) -> _Element:
        if length != _UNDEFINED and value_at + length > self._size:
            raise _refuse("it ends inside an element value")
        return _Element(tag, vr, length, value_at)

    def skip(self, element: _Element, depth: int, *, implicit: bool) -> int:
        """Return the offset behind an element's value."""
        if element.length != _UNDEFINED:
            return element.value_at + element.length
        if depth >= MAX_NESTING:
            raise _refuse(f"sequences are nested deeper than {MAX_NESTING}")
        return self._items(element.value_at, depth, implicit=implicit or element.vr == b"UN")

    def _items(self, at: int, depth: int, *, implicit: bool) -> int:
        """Return the offset behind a value of undefined length (PS3.5 section 7.5.2, A.4)."""
        while True:
            item = self.element(at, implicit=True)
            if item.tag == _SEQUENCE_END:
                return item.value_at
            if item.tag != _ITEM:
                raise _refuse("a sequence holds something that is no item")
            at = item.value_at + item.length
            if item.length == _UNDEFINED:
                at = self._open_item(item.value_at, depth, implicit=implicit)

    def _open_item(self, at: int, depth: int, *, implicit: bool) -> int:
        """Return the offset behind an item of undefined length."""
        while True:
            element = self.element(at, implicit=implicit)
            if element.tag == _ITEM_END:
                return element.value_at
            at = self.skip(element, depth + 1, implicit=implicit)

    def tags(self, *, implicit: bool) -> frozenset[int]:
        """Walk the whole buffer and return its top-level tags."""
        at, tags = 0, set()
        while at < self._size:
            element = self.element(at, implicit=implicit)
            tags.add(element.tag)
            at = self.skip(element, 0, implicit=implicit)
        return frozenset(tags)


def check_complete(buffer: memoryview, *, implicit_vr: bool, little_endian: bool) -> None:
    """Check that an encoded image data set is whole, its pixel data included.

    Parameters
    ----------
    buffer
        The data set as it came over the wire, without file meta information.
    implicit_vr, little_endian
        The encoding that the transfer syntax says (PS3.5 annex A).

    Raises
    ------
    IntakeRefused
        With status 0xC000 (Cannot understand, PS3.4 table B.2-1).
    """
    tags = _Walk(buffer, little_endian=little_endian).tags(implicit=implicit_vr)
    if PIXEL_DATA not in tags:
        raise _refuse("it holds no pixel data")
