"""The spool's files in an object store that every node on a ledger reaches (fsspec; S3 by s3fs).

A file counts once it is in the store: before that no ledger row names it. What lies in the storage
root beside it is a copy at hand, fetched again when it is gone.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from node.errors import StorageError

_COPIES_KEPT_S = 86_400.0
_SWEEP_S = 600.0
_FOLDERS = ("images", "outputs", "priors")
_ATTEMPTS = 1
_PATIENCE = {"connect_timeout": 3, "read_timeout": 20, "retries": {"max_attempts": 1}}
"""A sender waits meanwhile: it is told to come again before it gives up on us."""
_HINT = "look at `node.storage.objects`, at the keys in the environment and at the store itself"


class ObjectStore:
    """A bucket, or a folder in one.

    Parameters
    ----------
    url
        Such as `s3://bucket/prefix`. Keys and endpoint come from the environment (`AWS_…`).

    Raises
    ------
    StorageError
        The packages that speak to it are not installed, or the URL names no store.
    """

    def __init__(self, url: str) -> None:
        if find_spec("s3fs") is None:
            hint = "install the extra that brings it: pip install 'cxr-node[s3]'"
            raise StorageError("an object store needs s3fs, which is not installed", hint=hint)
        import fsspec  # comes with the extra `s3`

        with _refusing():
            self._store, self._base = fsspec.core.url_to_fs(
                url, use_listings_cache=False, skip_instance_cache=True, config_kwargs=_PATIENCE
            )
            self._store.retries = _ATTEMPTS

    def put(self, relative: str, path: Path) -> None:
        """Copy a file into the store; it is there, whole, when this returns.

        Raises
        ------
        StorageError
            The store did not take it.
        """
        with _refusing():
            self._store.put_file(str(path), self._key(relative))

    def fetch(self, relative: str, path: Path) -> None:
        """Copy a file out of the store, whole or not at all.

        Raises
        ------
        StorageError
            The store did not give it.
        """
        aside = path.parent / f"{uuid.uuid4().hex}.fetching"
        try:
            with _refusing():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._store.get_file(self._key(relative), str(aside))
                aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def identify(self, paths: Iterable[str]) -> dict[str, Any]:
        """Return which objects stand at some paths now."""
        found = {path: self._identity(path) for path in paths}
        return {path: identity for path, identity in found.items() if identity is not None}

    def remove(self, files: Mapping[str, Any]) -> int:
        """Remove objects, those that were meant; return how many.

        One that came again a moment ago is another, and stays.
        """
        with _refusing():
            meant = [path for path, identity in files.items() if self._identity(path) == identity]
            for path in meant:
                self._store.rm_file(self._key(path))
        return len(meant)

    def _identity(self, relative: str) -> tuple[str, str] | None:
        with _refusing():
            try:
                about = self._store.info(self._key(relative))
            except FileNotFoundError:
                return None
        return str(about.get("ETag")), str(about.get("LastModified"))

    def _key(self, relative: str) -> str:
        return f"{self._base}/{relative}"


class Copies:
    """The copies of a storage root whose files are in an object store; each goes after a day."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._next_at = 0.0

    def step(self) -> bool:
        """Remove the copies that are old; they can be fetched again."""
        if time.monotonic() < self._next_at:
            return False
        self._next_at = time.monotonic() + _SWEEP_S
        oldest = time.time() - _COPIES_KEPT_S
        for path in self._files():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
        return False

    def _files(self) -> Iterator[Path]:
        for top in _FOLDERS:
            for folder, _, names in os.walk(self._root / top):
                yield from (Path(folder, name) for name in names)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what the store says into an error of ours; its text may name the bucket, no patient."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (OSError, BotoCoreError, ClientError, ValueError) as error:
        reason = f"the object store refused: {type(error).__name__}"
        raise StorageError(reason, hint=_HINT) from error
