"""Nodes that share no folder: files in an object store that speaks S3, over real HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from node.app import Node
from node.config import NodeSettings, Settings, StorageSettings
from node.errors import StorageError
from node.made import Made
from node.objects import Copies, ObjectStore
from node.spool import Spool
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, free_port, send, settings_for, wait_for_state
from tests.postgres import Postgres

BUCKET = "s3://cxr-node-test/films"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    """Return a store with an empty bucket, named in the environment as an operator names it."""
    import fsspec

    port = free_port()
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3", skip_instance_cache=True).makedirs("cxr-node-test", exist_ok=True)
    yield running
    running.stop()


@pytest.fixture
def store(server: ThreadedMotoServer) -> ObjectStore:
    return ObjectStore(BUCKET)


def _spool(root: Path, store: ObjectStore) -> Spool:
    settings = StorageSettings(root=root, free_min_gb=0, free_min_percent=0)
    spool = Spool(settings, shared=True, objects=store)
    spool.prepare()
    return spool


def test_what_one_machine_keeps_another_can_read(tmp_path: Path, store: ObjectStore) -> None:
    first, second = _spool(tmp_path / "a", store), _spool(tmp_path / "b", store)
    ds = phantom("stored")
    relative, _ = first.store_output(Made.of(ds))
    assert second.path(relative).read_bytes() == first.path(relative).read_bytes()


def test_what_is_nowhere_is_an_error_of_ours(tmp_path: Path, store: ObjectStore) -> None:
    with pytest.raises(StorageError, match="object store"):
        _spool(tmp_path, store).path("images/00/nothing.dcm")
    assert list(tmp_path.rglob("*.fetching")) == []


def test_only_the_object_that_was_meant_is_removed(tmp_path: Path, store: ObjectStore) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    store.put("images/a", path)
    files = store.identify(["images/a", "images/b"])
    assert list(files) == ["images/a"]
    path.write_bytes(b"it came again, as something else")
    store.put("images/a", path)
    assert store.remove(files) == 0
    assert store.remove(store.identify(["images/a"])) == 1
    assert store.identify(["images/a"]) == {}


def test_copies_go_after_a_day(tmp_path: Path) -> None:
    shelf = tmp_path / "images" / "00"
    shelf.mkdir(parents=True)
    for name, age_s in (("old", 90_000), ("new", 60)):
        (shelf / name).write_bytes(b"x")
        os.utime(shelf / name, (time.time() - age_s,) * 2)
    Copies(tmp_path).step()
    assert [path.name for path in shelf.iterdir()] == ["new"]


def _member(base: Settings, root: Path, url: str, *roles: str) -> Settings:
    node: dict[str, Any] = base.node.model_dump() | {
        "port": free_port(),
        "roles": roles,
        "ledger": {"url": url},
        "storage": base.node.storage.model_dump() | {"root": root, "objects": BUCKET},
    }
    return base.model_copy(update={"node": NodeSettings.model_validate(node)})


def test_two_nodes_without_a_folder_in_common_draft_one_study(
    tmp_path: Path, pacs: Pacs, postgres: Postgres, server: ThreadedMotoServer
) -> None:
    base, url = settings_for(tmp_path, pacs.port), postgres.database()
    receiver = Node(_member(base, tmp_path / "a", url, "receive"), None)
    drafter = Node(_member(base, tmp_path / "b", url, "draft", "deliver"), FakeEngine())
    for node in (receiver, drafter):
        node.start()
    ds = phantom("apart")
    assert send(receiver, ds) == [0]
    wait_for_state(receiver, ds, "DONE")
    assert [report.Modality for report in pacs.received] == ["SR"]
    server.stop()
    assert send(receiver, phantom("store away")) == [0xA700]
    for node in (receiver, drafter):
        node.stop()
