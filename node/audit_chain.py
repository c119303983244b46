"""The audit trail as a file: a JSON line an event, each sealed with the hash of the one before.

A line that is changed, dropped, put in or moved breaks the chain. A line is on disk, synchronised,
before `append` returns; what a power cut left of a line is cut off at the next start. The file
names patients by their Patient ID, so its mode is 0600.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from node.errors import StorageError

GENESIS = "0" * 64
_MODE = 0o600
_BLOCK = 1 << 20


class AuditError(StorageError):
    """The audit trail cannot be written."""

    default_hint = "look at `node.audit.file`: does its folder exist, is it writable, is there room"


class ChainBroken(AuditError):
    """The audit trail was changed."""

    default_hint = "compare it with the audit repository's copy; keep the file as it is"


@dataclass(frozen=True)
class Head:
    """The last line of a chain."""

    sequence: int
    seal: str
    marks: dict[str, int]


def _start() -> Head:
    """Return what the first line is sealed onto."""
    return Head(0, GENESIS, {})


def seal_of(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record without its own seal; it covers the seal before."""
    open_part = {name: value for name, value in record.items() if name != "seal"}
    encoded = json.dumps(open_part, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(encoded.encode()).hexdigest()


class Chain:
    """The file, open for appending.

    Parameters
    ----------
    path
        Made where it is missing, its folder with it.

    Raises
    ------
    AuditError
        The file cannot be made or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            os.fchmod(descriptor, _MODE)
            self._file: BinaryIO = os.fdopen(descriptor, "r+b")
            self.head = _mend(self._file)
        except OSError as error:
            raise AuditError(f"{path}: {error.strerror}") from error

    def append(self, entries: Sequence[dict[str, Any]], marks: dict[str, int]) -> Head:
        """Add lines; they are on disk when this returns.

        Parameters
        ----------
        marks
            How far the ledger is audited once these lines are there.

        Raises
        ------
        AuditError
            The disk refused; none of the lines counts.
        """
        with self._lock:
            head, lines = self.head, bytearray()
            for number, entry in enumerate(entries, 1):
                carried = {**head.marks, **marks} if number == len(entries) else head.marks
                head, line = _sealed(head, entry, carried)
                lines += line
            self._write(bytes(lines))
            self.head = head
        return head

    def _write(self, lines: bytes) -> None:
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            _cut(self._file, start)
            raise AuditError(f"{self.path}: {error.strerror}") from error

    def skip(self, marks: dict[str, int]) -> None:
        """Note that the ledger held nothing to audit up to some marks; that needs no line."""
        with self._lock:
            self.head = replace(self.head, marks={**self.head.marks, **marks})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def is_closed(self) -> bool:
        """Tell whether the file is closed."""
        return self._file.closed


def _sealed(head: Head, entry: dict[str, Any], marks: dict[str, int]) -> tuple[Head, bytes]:
    """Return a line that is sealed onto the head, and the head that it makes."""
    record = {**entry, "sequence": head.sequence + 1, "marks": marks, "before": head.seal}
    record["seal"] = seal_of(record)
    line = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
    return Head(record["sequence"], record["seal"], marks), line


def _cut(file: BinaryIO, length: int) -> None:
    """Take back a line that the disk took only in part."""
    try:
        os.ftruncate(file.fileno(), length)
    except OSError as error:
        raise AuditError(f"the audit trail has half a line: {error.strerror}") from error


def _mend(file: BinaryIO) -> Head:
    """Cut off an unfinished last line; return the head."""
    end = file.seek(0, os.SEEK_END)
    whole, last = _last_line(file, end)
    if whole < end:
        os.ftruncate(file.fileno(), whole)
    file.seek(0, os.SEEK_END)
    if not last:
        return _start()
    try:
        record = json.loads(last)
        return Head(int(record["sequence"]), str(record["seal"]), dict(record["marks"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ChainBroken("the last line of the audit trail is no record") from error


def _last_line(file: BinaryIO, end: int) -> tuple[int, bytes]:
    """Return where the whole lines end, and the last of them."""
    start, tail = end, b""
    while start and tail.count(b"\n") < 2:
        start = max(start - _BLOCK, 0)
        file.seek(start)
        tail = file.read(end - start)
    whole = start + tail.rfind(b"\n") + 1
    return whole, tail[: whole - start].rstrip(b"\n").rpartition(b"\n")[2]


def verify(path: Path) -> Head:
    """Check every line of a chain; return its head.

    Raises
    ------
    ChainBroken
        Names the first line that is not as it was written.
    AuditError
        The file cannot be read.
    """
    head = _start()
    for number, line in _lines(path):
        head = _follow(head, line, number)
    return head


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            # a line without its end is still being written, or was when the power went
            yield from ((number, line) for number, line in enumerate(file, 1) if line[-1:] == b"\n")
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from error


def _follow(head: Head, line: bytes, number: int) -> Head:
    """Return the head after a line that must continue the chain."""
    try:
        record = json.loads(line)
        sealed = (record["sequence"], record["before"], record["seal"])
        expected = (head.sequence + 1, head.seal, seal_of(record))
        marks = dict(record["marks"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChainBroken(f"line {number} of the audit trail is no record") from error
    if sealed != expected:
        raise ChainBroken(f"line {number} of the audit trail is not the one that was written")
    return Head(number, record["seal"], marks)
