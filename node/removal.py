"""Removing files of the storage root without ever removing one that has just come again.

An image that is sent again after its study was forgotten gets the same path. So a file is moved
aside first, and removed only if it is the one that was meant.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from node.errors import StorageError

_FOLDERS = ("images", "outputs", "priors")
_ASIDE = "removing"

Identity = tuple[int, int]
"""Inode and instant of the last change: another file has another."""


class Removal:
    """The way out of the storage root.

    Parameters
    ----------
    root
        The storage root; its paths are relative to it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def identify(self, paths: Iterable[str]) -> dict[str, Identity]:
        """Return which files lie at some paths now."""
        found = {path: _identity(self._root / path) for path in paths}
        return {path: identity for path, identity in found.items() if identity is not None}

    def remove(self, files: Mapping[str, Identity]) -> int:
        """Remove files, those that were meant and no other; return how many.

        Raises
        ------
        StorageError
            The disk refused.
        """
        try:
            (self._root / _ASIDE).mkdir(exist_ok=True, mode=0o700)
            return sum(self._remove(path, identity) for path, identity in files.items())
        except OSError as error:
            raise StorageError(f"the disk refused: {error.strerror}") from error

    def _remove(self, path: str, identity: Identity) -> bool:
        target = self._root / path
        aside = self._root / _ASIDE / path.replace("/", "_")
        try:
            target.replace(aside)
        except FileNotFoundError:
            return False
        is_meant = _identity(aside) == identity
        if not is_meant:
            _put_back(aside, target)
        aside.unlink()
        return is_meant

    def recover(self, known: Collection[str]) -> tuple[int, int]:
        """Drop what no row of the ledger knows, before anything is received.

        Such files were never acknowledged: a kill came between file and ledger, or between ledger
        and removal. Only one node works on a root. Where more files are unknown than known the
        ledger is not theirs, and all of them stay.

        Returns
        -------
        tuple of int
            How many files were removed, and how many were left.

        Raises
        ------
        StorageError
            The disk refused.
        """
        try:
            asides = {aside.name: aside for aside in (self._root / _ASIDE).glob("*")}
            for path in known if asides else ():
                if aside := asides.get(path.replace("/", "_")):
                    _put_back(aside, self._root / path)
            strays = [path for path in self._files() if path not in known]
            if len(strays) > len(known):
                return 0, len(strays)
            for path in strays:
                (self._root / path).unlink()
        except OSError as error:
            raise StorageError(f"the disk refused: {error.strerror}") from error
        return len(strays), 0

    def _files(self) -> Iterator[str]:
        for top in (*_FOLDERS, _ASIDE):
            for folder, _, names in os.walk(self._root / top):
                shelf = Path(folder).relative_to(self._root).as_posix()
                yield from (f"{shelf}/{name}" for name in names)


def _put_back(aside: Path, target: Path) -> None:
    """Give a file its name again, unless yet another has it by now."""
    with suppress(FileExistsError):
        target.hardlink_to(aside)


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
