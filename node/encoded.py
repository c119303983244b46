"""Is an encoded data set whole? A walk over its elements, fed piece by piece, that reads no value.

An acknowledged instance must be whole, so the walk steps from element to element by length,
down into sequences and fragments of undefined length, and refuses bytes that end early, lengths
that point past the end, and nesting beyond any real object (PS3.5 section 7 and annex A.4). Of the
elements that it is told to keep it keeps the bytes; everything else it forgets as it goes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Generator
from typing import Self

from pydicom.uid import UID

from node.errors import CANNOT_UNDERSTAND, IntakeRefused

MAX_NESTING = 64
MAX_KEPT_BYTES = 1_048_576
PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

_Walk = Generator[int, bytes, None]
"""Asks for so many bytes of a header (positive), or to skip so many of a value (negative)."""


def _refuse(reason: str) -> IntakeRefused:
    return IntakeRefused(CANNOT_UNDERSTAND, f"the data set is broken: {reason}")


class DatasetWalk:
    """A walk through one data set.

    Parameters
    ----------
    implicit_vr, little_endian
        The encoding that the transfer syntax says (PS3.5 annex A).
    keep
        Tags of top-level elements whose bytes are kept; ascending, they are a data set again.
    """

    def __init__(
        self, *, implicit_vr: bool, little_endian: bool, keep: Collection[int] = ()
    ) -> None:
        order = "<" if little_endian else ">"
        self._tag = struct.Struct(f"{order}HH")
        self._long = struct.Struct(f"{order}L")
        self._short = struct.Struct(f"{order}H")
        self._keep = frozenset(keep)
        self._keeping = False
        self.kept = bytearray()
        self.tags: set[int] = set()
        self._head = bytearray()
        self._is_between = True
        self._steps = self._elements(implicit=implicit_vr)
        self._wanted = next(self._steps)

    @classmethod
    def of(cls, transfer_syntax_uid: str, keep: Collection[int] = ()) -> Self:
        """Return a walk for a transfer syntax."""
        syntax = UID(transfer_syntax_uid)
        return cls(
            implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, keep=keep
        )

    def feed(self, piece: memoryview) -> None:
        """Walk on over the next bytes.

        Raises
        ------
        IntakeRefused
            With status 0xC000 (Cannot understand, PS3.4 table B.2-1).
        """
        at, size = 0, len(piece)
        while at < size:
            wanted = self._wanted
            if wanted < 0:
                step = min(-wanted, size - at)
                if self._keeping:
                    self._keep_bytes(piece[at : at + step])
                at += step
                self._wanted += step
                if not self._wanted:
                    self._wanted = self._steps.send(b"")
                continue
            step = min(wanted - len(self._head), size - at)
            self._head += piece[at : at + step]
            at += step
            if len(self._head) == wanted:
                header, self._head = bytes(self._head), bytearray()
                self._wanted = self._steps.send(header)

    def finish(self) -> None:
        """Check that the data set ended between two top-level elements.

        Raises
        ------
        IntakeRefused
            It did not.
        """
        if not self._is_between or self._head:
            raise _refuse("it ends too early")

    def _keep_bytes(self, piece: memoryview | bytes) -> None:
        if len(self.kept) + len(piece) > MAX_KEPT_BYTES:
            raise _refuse("an element that identifies it is too long")
        self.kept += piece

    def _elements(self, *, implicit: bool) -> _Walk:
        """Walk over top-level elements, for ever."""
        while True:
            self._is_between, self._keeping = True, False
            first = yield 8
            self._is_between = False
            tag = self._tag_of(first)
            self.tags.add(tag)
            self._keeping = tag in self._keep
            yield from self._element(first, 0, implicit=implicit)

    def _tag_of(self, header: bytes) -> int:
        group, number = self._tag.unpack_from(header)
        return int(group << 16 | number)

    def _element(self, first: bytes, depth: int, *, implicit: bool) -> _Walk:
        """Walk over one element whose first eight bytes are there (PS3.5 section 7.1)."""
        if self._keeping:
            self._keep_bytes(first)
        vr = b"" if implicit or first[:2] == self._short.pack(0xFFFE) else first[4:6]
        if not vr:
            length = self._long.unpack_from(first, 4)[0]
        elif vr in _SHORT_VRS:
            length = self._short.unpack_from(first, 6)[0]
        elif vr in _LONG_VRS:
            rest = yield 4
            if self._keeping:
                self._keep_bytes(rest)
            length = self._long.unpack(rest)[0]
        else:
            raise _refuse("an element has no valid VR")
        if length == _UNDEFINED:
            if depth >= MAX_NESTING:
                raise _refuse(f"sequences are nested deeper than {MAX_NESTING}")
            yield from self._items(depth, implicit=implicit or vr == b"UN")
        elif length:
            yield -length

    def _items(self, depth: int, *, implicit: bool) -> _Walk:
        """Walk over a value of undefined length (PS3.5 section 7.5.2, annex A.4)."""
        while True:
            item = yield 8
            if self._keeping:
                self._keep_bytes(item)
            tag, length = self._tag_of(item), self._long.unpack_from(item, 4)[0]
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise _refuse("a sequence holds something that is no item")
            if length == _UNDEFINED:
                yield from self._open_item(depth, implicit=implicit)
            elif length:
                yield -length

    def _open_item(self, depth: int, *, implicit: bool) -> _Walk:
        """Walk over an item of undefined length."""
        while True:
            first = yield 8
            if self._tag_of(first) == _ITEM_END:
                if self._keeping:
                    self._keep_bytes(first)
                return
            yield from self._element(first, depth + 1, implicit=implicit)
