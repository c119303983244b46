"""What may be removed is removed; what was acknowledged and waits for its draft never is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from node.app import Node
from node.config import Settings, StorageSettings
from node.database import open_ledger, sqlite_url
from node.errors import UnknownName
from node.ledger import Ledger
from node.records import Arrival
from node.removal import Removal
from node.retention import Retention
from node.schema import event, instance, output, rejection, study
from node.studies import State
from node.transactions import reading, writing
from tests.fakes import FakeEngine, ManualClock
from tests.films import phantom
from tests.node.conftest import (
    Pacs,
    half_written,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]
DAY = 86_400.0


def _count(node: Node, table: sa.Table) -> int:
    with reading(node._database) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _files(root: Path) -> list[Path]:
    return [path for name in ("images", "outputs") for path in (root / name).rglob("*.dcm")]


def _sweep(node: Node, clock: ManualClock, **storage: Any) -> None:
    """Sweep as the node does, at another time."""
    chosen = node.settings.node.storage.model_copy(update=storage)
    retention = Retention(chosen, node._database, clock)
    while retention.step():
        pass


def _drafted(start_node: Start, name: str) -> tuple[Node, Any, ManualClock]:
    node, ds = start_node(), phantom(name)
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    return node, ds, ManualClock(node._clock.now())


def test_a_delivered_study_goes_after_its_days_and_is_still_remembered(start_node: Start) -> None:
    node, ds, clock = _drafted(start_node, "old")
    root = node.settings.node.storage.root
    clock.advance(29 * DAY)
    _sweep(node, clock)
    assert len(_files(root)) == 2
    clock.advance(2 * DAY)
    _sweep(node, clock)
    assert _files(root) == []
    assert _count(node, instance) == _count(node, output) == 0
    assert study_state(node, ds) == ["DONE"]
    with pytest.raises(UnknownName, match="images of the study have been removed"):
        node._ledger.replay(ds.StudyInstanceUID, clock.now())
    clock.advance(365 * DAY)
    _sweep(node, clock)
    assert study_state(node, ds) == []


def test_a_study_that_comes_again_is_drafted_under_new_uids(start_node: Start, pacs: Pacs) -> None:
    node, ds, clock = _drafted(start_node, "again")
    clock.advance(31 * DAY)
    _sweep(node, clock)
    assert send(node, ds) == [0]
    wait_for_state(node, ds, "DONE", "DONE")
    one, two = pacs.received
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in two


def test_nothing_goes_that_waits_for_its_draft_or_its_delivery(
    start_node: Start, engine: FakeEngine, pacs: Pacs
) -> None:
    pacs.stop()
    node, undelivered = start_node(), phantom("undelivered")
    send(node, undelivered)
    wait_for_state(node, undelivered, "DELIVERING")
    engine.may_answer.clear()
    undrafted = phantom("undrafted")
    send(node, undrafted)
    wait_for_state(node, undrafted, "RUNNING")
    clock = ManualClock(node._clock.now() + 1000 * DAY)
    _sweep(node, clock, max_gb=1e-9)
    assert len(_files(node.settings.node.storage.root)) == 3
    engine.may_answer.set()


def test_beyond_the_limit_the_oldest_delivered_studies_go(start_node: Start) -> None:
    node, old, clock = _drafted(start_node, "oldest")
    new = phantom("newest")
    send(node, new)
    wait_for_state(node, new, "DONE")
    with reading(node._database) as connection:
        size = connection.execute(sa.select(sa.func.max(instance.c.num_bytes))).scalar_one()
    _sweep(node, clock, max_gb=1.5 * size / 1e9)
    assert _count(node, instance) == 2, "what ended just now stays"
    clock.advance(3600)
    _sweep(node, clock, max_gb=1.5 * size / 1e9)
    assert node._ledger.instances(old.StudyInstanceUID, 1) == ()
    assert len(node._ledger.instances(new.StudyInstanceUID, 1)) == 1


def test_a_failed_study_goes_by_age_alone(start_node: Start, engine: FakeEngine) -> None:
    engine.fails = True
    node, ds = start_node(), phantom("failed")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    clock = ManualClock(node._clock.now() + DAY)
    _sweep(node, clock, max_gb=1e-9)
    assert _count(node, instance) == 1
    clock.advance(30 * DAY)
    _sweep(node, clock)
    assert _count(node, instance) == 0


def test_rejections_go_by_age_and_the_newest_event_stays(start_node: Start) -> None:
    node, _, clock = _drafted(start_node, "refused")
    send(node, phantom("refused", SOPInstanceUID="1.2.3", Manufacturer="cxr-node project"))
    wait_for(lambda: node.journal.rejections())
    clock.advance(31 * DAY)
    _sweep(node, clock)
    assert _count(node, rejection) == 0
    assert _count(node, event) == 1


def test_a_start_removes_files_that_nobody_knows_and_no_other(start_node: Start) -> None:
    node, _, _ = _drafted(start_node, "strays")
    root = node.settings.node.storage.root
    before = _files(root)
    node.stop()
    stray = root / "images" / "00" / "stray.dcm"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"never acknowledged")
    meant = before[0].relative_to(root).as_posix()
    aside = root / "removing" / meant.replace("/", "_")
    aside.parent.mkdir(exist_ok=True)
    before[0].replace(aside)
    start_node(node.settings)
    assert sorted(_files(root)) == sorted(before)
    assert not aside.exists()


def test_files_without_their_ledger_stay(start_node: Start) -> None:
    node, _, _ = _drafted(start_node, "ledger lost")
    root = node.settings.node.storage.root
    before = _files(root)
    node.stop()
    for path in root.glob("ledger.sqlite*"):
        path.unlink()
    start_node(node.settings)
    assert _files(root) == before


def test_a_file_that_came_again_is_not_removed(tmp_path: Path) -> None:
    removal = Removal(tmp_path)
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.dcm"
    path.write_bytes(b"old")
    meant = removal.identify(["images/a.dcm", "images/never.dcm"])
    (tmp_path / "again").write_bytes(b"old")
    (tmp_path / "again").replace(path)
    assert removal.remove(meant) == 0
    assert path.read_bytes() == b"old"
    assert removal.remove(removal.identify(["images/a.dcm"])) == 1
    assert not path.exists()


ages = st.floats(0, 60 * DAY)


@given(
    made=st.lists(st.tuples(st.sampled_from(State), ages), min_size=1, max_size=8),
    max_gb=st.none() | st.floats(1e-9, 1e-3),
)
@settings(max_examples=40, deadline=None)
def test_only_ended_studies_ever_go(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[State, float]],
    max_gb: float | None,
) -> None:
    root, now = tmp_path_factory.mktemp("root"), 100 * DAY
    engine = open_ledger(sqlite_url(root / "ledger.sqlite"))
    for number, (state, age) in enumerate(made):
        _receive(Ledger(engine), str(number), now - age)
        with writing(engine) as connection:
            is_it = study.c.study_uid == str(number)
            connection.execute(study.update().where(is_it).values(state=state))
    retention = Retention(StorageSettings(root=root, max_gb=max_gb), engine, ManualClock(now))
    while retention.step():
        pass
    with reading(engine) as connection:
        kept = set(connection.execute(sa.select(instance.c.study_uid)).scalars())
    engine.dispose()
    for number, (state, age) in enumerate(made):
        if state not in (State.DONE, State.SKIPPED, State.FAILED):
            assert str(number) in kept
        elif age > 30 * DAY:
            assert str(number) not in kept
        elif max_gb is None or state is State.FAILED:
            assert str(number) in kept


def _receive(ledger: Ledger, study_uid: str, at: float) -> None:
    arrival = Arrival(
        sop_instance_uid=f"{study_uid}.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        study_uid=study_uid,
        series_uid=f"{study_uid}.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        patient_digest="p",
        content_digest="a",
        num_bytes=1000,
        path=f"images/{study_uid}.dcm",
        peer="pacs",
    )
    ledger.record_arrival(arrival, at)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of a few MB, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs may be mounted by this user: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_refuses_and_takes_again_as_soon_as_there_is_room(
    start_node: Start, small_disk: Path, pacs: Pacs
) -> None:
    node = start_node(_on(small_disk, pacs))
    first = phantom("before")
    assert send(node, first) == [0]
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        while _is_roomy(small_disk):
            file.write(bytes(65_536))
            file.flush()
    second = phantom("meanwhile")
    assert send(node, second) == [0xA700]
    wait_for_state(node, first, "DONE")  # drafts and deliveries go on
    filler.unlink()
    assert send(node, second) == [0], "the watermark is read at each image: no wait at all"
    wait_for_state(node, second, "DONE")
    assert half_written(small_disk / "root") == []


def test_a_disk_that_fills_up_inside_an_image_refuses_it_whole(
    start_node: Start, small_disk: Path, pacs: Pacs
) -> None:
    settings = _on(small_disk, pacs, free_min_percent=0)
    node, large = start_node(settings), phantom("large", size=2200)
    assert send(node, large) == [0xA700]
    assert half_written(small_disk / "root") == []
    assert send(node, phantom("small")) == [0]


def _on(disk: Path, pacs: Pacs, **storage: Any) -> Settings:
    storage = {"root": disk / "root", "free_min_gb": 0, "free_min_percent": 40} | storage
    return settings_for(disk / "root", pacs.port, storage=storage)


def _is_roomy(disk: Path) -> bool:
    usage = shutil.disk_usage(disk)
    return usage.free / usage.total > 0.39
