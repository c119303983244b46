"""Files that survive a power cut: written aside, synchronised, renamed, directory synchronised.

Names are hashes, never UIDs: nothing that a peer sends becomes part of a path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from node.config import StorageSettings
from node.errors import DiskFull, NodeAlreadyRuns, StorageError

_GIB = 1024**3

Buffer = bytes | memoryview


class Spool:
    """The storage root: received images, made objects, and the lock of the node that owns it.

    Parameters
    ----------
    settings
        Where the root is, and how much room must stay free there.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self.root = settings.root
        self._lock: BinaryIO | None = None

    @property
    def ledger_path(self) -> Path:
        """The file of the ledger."""
        return self.root / "ledger.sqlite"

    def prepare(self) -> None:
        """Make the folders and drop what a killed run left half-written.

        Raises
        ------
        StorageError
            The root cannot be made or written.
        """
        try:
            for name in ("incoming", "images", "outputs"):
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"{self.root}: {error.strerror}") from error

    def lock(self) -> None:
        """Take the root for this process, until it ends; then clear half-written files.

        Raises
        ------
        NodeAlreadyRuns
            Another process holds it.
        """
        self._lock = (self.root / "lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.unlock()
            raise NodeAlreadyRuns from error
        for leftover in (self.root / "incoming").iterdir():
            leftover.unlink()

    def is_locked(self) -> bool:
        """Tell whether a node works on this root."""
        try:
            with (self.root / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def unlock(self) -> None:
        """Give the root back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check_room(self) -> None:
        """Check the watermark.

        Raises
        ------
        DiskFull
            Less is free than `free_min_gb` or `free_min_percent` ask for.
        StorageError
            The root cannot be looked at.
        """
        try:
            usage = shutil.disk_usage(self.root)
        except OSError as error:
            raise StorageError(f"{self.root}: {error.strerror}") from error
        percent = 100 * usage.free / usage.total
        wanted = self._settings
        if usage.free < wanted.free_min_gb * _GIB or percent < wanted.free_min_percent:
            raise DiskFull(
                f"free disk space is below the watermark: {usage.free / _GIB:.1f} GiB"
                f" ({percent:.0f} %) free"
            )

    def store_image(self, sop_instance_uid: str, digest: str, parts: Iterable[Buffer]) -> str:
        """Write a received image; return its path relative to the root."""
        name = hashlib.sha256(f"{sop_instance_uid}\0{digest}".encode()).hexdigest()
        return self._store(Path("images", name[:2], f"{name}.dcm"), parts)

    def store_output(self, ds: Dataset) -> tuple[str, str]:
        """Write a made object; return its path relative to the root and its SHA-256."""
        buffer = BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        name = hashlib.sha256(str(ds.SOPInstanceUID).encode()).hexdigest()
        path = self._store(Path("outputs", name[:2], f"{name}.dcm"), [buffer.getbuffer()])
        return path, hashlib.sha256(buffer.getbuffer()).hexdigest()

    def path(self, relative: str) -> Path:
        """Return the full path of a stored file."""
        return self.root / relative

    def _store(self, relative: Path, parts: Iterable[Buffer]) -> str:
        """Write a file so that it is whole under its name, or not there.

        Raises
        ------
        StorageError
            The disk refused; nothing is left behind.
        """
        target = self.root / relative
        try:
            handle, aside = tempfile.mkstemp(dir=self.root / "incoming")
        except OSError as error:
            raise StorageError(f"the disk refused: {error.strerror}") from error
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True, mode=0o700)
                _sync_directory(target.parent.parent)
            Path(aside).replace(target)
            _sync_directory(target.parent)
        except OSError as error:
            with suppress(OSError):
                Path(aside).unlink(missing_ok=True)
            raise StorageError(f"the disk refused: {error.strerror}") from error
        return relative.as_posix()


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
