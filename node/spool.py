"""Files that survive a power cut: written aside, synchronised, renamed, directory synchronised.

Names are hashes, never UIDs: nothing that a peer sends becomes part of a path.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from node.config import StorageSettings
from node.errors import DiskFull, NodeAlreadyRuns, StorageError
from node.made import Made
from node.objects import ObjectStore

_GIB = 1024**3
_WRITE_BACK_BYTES = 2 * 1024**2

Buffer = bytes | memoryview


class Spool:
    """The storage root: received images, made objects, and the lock of the node that owns it.

    Parameters
    ----------
    settings
        Where the root is, and how much room must stay free there.
    shared
        Whether other nodes, on the same ledger, may use the root as well.
    objects
        Where the files are as well, for nodes that do not share the root.
    """

    def __init__(
        self,
        settings: StorageSettings,
        *,
        shared: bool = False,
        objects: ObjectStore | None = None,
    ) -> None:
        self._settings = settings
        self.root = settings.root
        self._shared = shared
        self._objects = objects
        self._incoming = self.root / "incoming"
        self._shelves: set[Path] = set()
        self._shelving = threading.Lock()
        self._lock: BinaryIO | None = None
        self._incoming_lock: BinaryIO | None = None

    def under(self, settings: StorageSettings) -> Spool:
        """Return the same spool with another watermark; the lock stays with this one."""
        twin = copy.copy(self)
        twin._settings = settings
        return twin

    def prepare(self) -> None:
        """Make the folders.

        Raises
        ------
        StorageError
            The root cannot be made or written.
        """
        try:
            for name in ("incoming", "images", "outputs", "priors"):
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            _sync_directory(self.root)
        except OSError as error:
            raise StorageError(f"{self.root}: {error.strerror}") from error

    def lock(self) -> None:
        """Take the root for this process, until it ends; then clear half-written files.

        Raises
        ------
        NodeAlreadyRuns
            Another process holds it, or shares it where this one is to be alone.
        """
        kind = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
        self._lock = (self.root / "lock").open("wb")
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except OSError as error:
            self.unlock()
            raise NodeAlreadyRuns from error
        with (self.root / "incoming.lock").open("wb") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            self._clear_incoming()
            self._incoming = self.root / "incoming" / uuid.uuid4().hex
            self._incoming.mkdir(mode=0o700)
            self._incoming_lock = (self._incoming / "lock").open("wb")
            fcntl.flock(self._incoming_lock, fcntl.LOCK_EX)

    def _clear_incoming(self) -> None:
        """Remove what processes that are gone left half-written; those alive hold a lock."""
        for leftover in (self.root / "incoming").iterdir():
            if not leftover.is_dir():
                leftover.unlink()
            elif not _is_held(leftover / "lock"):
                shutil.rmtree(leftover)

    def is_locked(self) -> bool:
        """Tell whether a node works on this root."""
        return _is_held(self.root / "lock")

    def unlock(self) -> None:
        """Give the root back."""
        for held in (self._incoming_lock, self._lock):
            if held is not None:
                held.close()
        self._incoming_lock = self._lock = None

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

    def begin_image(self) -> Unfinished:
        """Open a file for an image that is coming in.

        Raises
        ------
        StorageError
            The disk refused.
        """
        return Unfinished(self.root, self._incoming)

    def keep_image(self, unfinished: Unfinished, sop_instance_uid: str, digest: str) -> str:
        """Make a received image last under its name; return its path relative to the root."""
        name = hashlib.sha256(f"{sop_instance_uid}\0{digest}".encode()).hexdigest()
        return self._keep(unfinished, self._shelf("images", name) / f"{name}.dcm")

    def _shelf(self, folder: str, name: str) -> Path:
        """Return the folder for a name, relative to the root; by then it survives a power cut.

        Whoever comes second waits for the first, also where the folder is there already: another
        process may have made it and not synchronised it yet.
        """
        shelf = Path(folder, name[:2])
        with self._shelving:
            if shelf not in self._shelves:
                with _refusing():
                    (self.root / shelf).mkdir(exist_ok=True, mode=0o700)
                    _sync_directory(self.root / folder)
                self._shelves.add(shelf)
        return shelf

    def drop_image(self, relative: str) -> None:
        """Remove a kept image that the ledger did not take."""
        with suppress(OSError):
            (self.root / relative).unlink()

    def store_output(self, made: Made) -> tuple[str, str]:
        """Write what was made; return its path relative to the root and its SHA-256."""
        name = hashlib.sha256(made.uid.encode()).hexdigest()
        unfinished = Unfinished(self.root, self._incoming)
        try:
            unfinished.write(made.content)
            path = self._keep(unfinished, self._shelf("outputs", name) / f"{name}{made.suffix}")
        finally:
            unfinished.drop()
        return path, hashlib.sha256(made.content).hexdigest()

    def keep_prior(self, unfinished: Unfinished, study_uid: str, sop_instance_uid: str) -> str:
        """Make an earlier film last that belongs to the draft of a study; return its path."""
        name = hashlib.sha256(f"{study_uid}\0{sop_instance_uid}".encode()).hexdigest()
        return self._keep(unfinished, self._shelf("priors", name) / f"{name}.dcm")

    def path(self, relative: str) -> Path:
        """Return the full path of a stored file, fetched where only the object store has it.

        Raises
        ------
        StorageError
            The object store does not give it.
        """
        path = self.root / relative
        if self._objects is not None and not path.exists():
            self._objects.fetch(relative, path)
        return path

    def _keep(self, unfinished: Unfinished, relative: Path) -> str:
        """Make a file last, here and in the object store; return its path."""
        kept = unfinished.keep(relative)
        if self._objects is not None:
            self._objects.put(kept, self.root / kept)
        return kept


class Unfinished:
    """A file on its way in: under no name that counts until it is whole and synchronised.

    Raises
    ------
    StorageError
        The disk refused, here or in any method; nothing is left behind after `drop`.
    """

    def __init__(self, root: Path, incoming: Path) -> None:
        self._root = root
        self._handle = -1
        self._num_written = self._num_started = 0
        self._aside: Path | None = incoming / uuid.uuid4().hex
        with _refusing():
            self._handle = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, piece: Buffer) -> None:
        """Append; what is written goes on its way to the disk while the rest comes in."""
        with _refusing():
            written = os.write(self._handle, piece)
            while written < len(piece):
                written += os.write(self._handle, piece[written:])
            self._num_written += written
            if self._num_written - self._num_started >= _WRITE_BACK_BYTES:
                self._start_write_back()

    def _start_write_back(self) -> None:
        """Let the kernel begin, so that the synchronisation at the end finds little left to do."""
        num_bytes = self._num_written - self._num_started
        os.posix_fadvise(self._handle, self._num_started, num_bytes, os.POSIX_FADV_DONTNEED)
        self._num_started = self._num_written

    def keep(self, relative: Path) -> str:
        """Synchronise, then give it its name, then synchronise the name; return the path."""
        target = self._root / relative
        with _refusing():
            os.fsync(self._handle)
            if self._aside is not None:
                self._aside.replace(target)
                self._aside = None
            _sync_directory(target.parent)
        return relative.as_posix()

    def drop(self) -> None:
        """Close, and remove what was not kept."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        if self._aside is not None:
            with suppress(OSError):
                self._aside.unlink(missing_ok=True)
            self._aside = None


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what the disk says into an error of ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"the disk refused: {error.strerror}") from error


def _is_held(path: Path) -> bool:
    """Tell whether a process holds the lock of a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
