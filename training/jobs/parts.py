"""Finished chunks of a bulk job on disk: what makes a job resumable and idempotent.

A job cuts its work into numbered chunks and names itself by a digest of everything that its result
depends on. Each finished chunk is one file, written aside, synced and renamed; the folder carries
``.partial`` in its name until the last chunk is there, then gets its manifest and its final name. A
killed job goes on behind the chunks it has; a finished one has nothing to do; another input is
another folder, so nothing is ever appended to or mixed (Ray's own ``write_parquet`` appends to a
directory that exists, which is why the parts are not written by it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.checkpoints import sync
from training.errors import JobError

MANIFEST = "manifest.json"
DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Parts:
    """The chunks of one job: ``root/name-digest/part-00000.suffix`` and so on."""

    root: Path
    name: str
    digest: str
    num_chunks: int
    suffix: str

    @property
    def final_dir(self) -> Path:
        """Where the finished job lies."""
        return self.root / f"{self.name}-{self.digest[:DIGEST_LENGTH]}"

    @property
    def partial_dir(self) -> Path:
        """Where the job lies while chunks are missing."""
        return self.final_dir.with_name(self.final_dir.name + ".partial")

    @property
    def is_sealed(self) -> bool:
        """Tell whether every chunk is there and the manifest written."""
        return (self.final_dir / MANIFEST).is_file()

    def path(self, chunk: int) -> Path:
        """Return the file of a chunk, wherever the job lies now."""
        folder = self.final_dir if self.is_sealed else self.partial_dir
        return folder / f"part-{chunk:05d}.{self.suffix}"

    def missing(self) -> list[int]:
        """Return the chunks that are not finished, in order."""
        return [chunk for chunk in range(self.num_chunks) if not self.path(chunk).is_file()]

    def write(self, chunk: int, part: bytes) -> None:
        """Keep a finished chunk: it is there whole after this, or not at all."""
        self.partial_dir.mkdir(parents=True, exist_ok=True)
        target = self.path(chunk)
        aside = target.with_name(target.name + ".partial")
        aside.write_bytes(part)
        sync(aside)
        aside.replace(target)

    def seal(self) -> None:
        """Write the manifest and give the folder its final name; nothing when that is done.

        Raises
        ------
        JobError
            A chunk is missing.
        """
        if self.is_sealed:
            return
        missing = self.missing()
        if missing:
            raise JobError(
                f"{len(missing)} of {self.num_chunks} chunks of {self.name} are missing",
                hint="start the same command again; it goes on behind the finished chunks",
            )
        self.partial_dir.mkdir(parents=True, exist_ok=True)
        sums = [checksum(self.path(chunk).read_bytes()) for chunk in range(self.num_chunks)]
        manifest = {"name": self.name, "digest": self.digest, "sha256": sums}
        path = self.partial_dir / MANIFEST
        path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        sync(path)
        self.partial_dir.rename(self.final_dir)
        sync(self.root)

    def read(self) -> Iterator[bytes]:
        """Yield the chunks of a sealed job in order.

        Raises
        ------
        JobError
            The job is not finished, or a chunk is not the one that the manifest names.
        """
        if not self.is_sealed:
            raise JobError(f"{self.name} is not finished", hint="start the same command again")
        manifest = json.loads((self.final_dir / MANIFEST).read_text(encoding="utf-8"))
        for chunk, expected in enumerate(manifest["sha256"]):
            part = self.path(chunk).read_bytes()
            if checksum(part) != expected:
                raise JobError(
                    f"{self.path(chunk)} is not the file that was written",
                    hint=f"remove {self.final_dir} and start the same command again",
                )
            yield part


def checksum(part: bytes) -> str:
    """Return the sha256 of a chunk."""
    return hashlib.sha256(part).hexdigest()
