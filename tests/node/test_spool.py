"""Files are whole under their name or not there, and no name comes from a peer."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from node.config import StorageSettings
from node.errors import DiskFull, NodeAlreadyRuns, StorageError
from node.made import Made
from node.spool import Spool
from tests.films import phantom


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(StorageSettings(root=tmp_path / "root", free_min_gb=0, free_min_percent=0))
    made.prepare()
    return made


def _store(spool: Spool, uid: str, content: bytes) -> str:
    unfinished = spool.begin_image()
    try:
        unfinished.write(content)
        return spool.keep_image(unfinished, uid, "digest")
    finally:
        unfinished.drop()


def _files(spool: Spool) -> list[Path]:
    return [path for path in spool.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("uid", ["1.2.3", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_a_path_is_made_of_hashes(spool: Spool, uid: str) -> None:
    relative = _store(spool, uid, b"bytes")
    assert spool.path(relative).read_bytes() == b"bytes"
    assert spool.path(relative).resolve().is_relative_to(spool.root.resolve())
    assert relative.startswith("images/")


def test_file_and_directory_are_synchronised_before_the_answer(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        order.append("dir" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    _store(spool, "1.2", b"x")
    assert order == ["dir", "file", "rename", "dir"]


def test_a_disk_that_refuses_leaves_nothing_behind(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        _store(spool, "1.2", b"x")
    assert _files(spool) == []


def test_a_file_that_is_dropped_half_way_is_gone(spool: Spool) -> None:
    unfinished = spool.begin_image()
    unfinished.write(b"half")
    assert len(_files(spool)) == 1
    unfinished.drop()
    assert _files(spool) == []


def test_below_the_watermark_nothing_is_taken(tmp_path: Path) -> None:
    spool = Spool(StorageSettings(root=tmp_path, free_min_gb=1e9))
    with pytest.raises(DiskFull):
        spool.check_room()


def test_one_root_has_one_node_and_its_leftovers_go(tmp_path: Path, spool: Spool) -> None:
    (spool.root / "incoming" / "half").write_bytes(b"")
    spool.lock()
    assert not (spool.root / "incoming" / "half").exists()
    other = Spool(StorageSettings(root=spool.root))
    with pytest.raises(NodeAlreadyRuns):
        other.lock()
    spool.unlock()
    other.lock()
    other.unlock()


def test_an_output_written_twice_is_the_same_file(spool: Spool) -> None:
    ds = phantom("output")
    assert spool.store_output(Made.of(ds)) == spool.store_output(Made.of(ds))
    assert len(_files(spool)) == 1
