"""A worker ends every study that it claims, or leaves it for later."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.announcements import Announcements
from node.config import StorageSettings, StudySettings, WorkSettings
from node.config_outputs import OutboxSettings, OutputSettings
from node.database import open_ledger, sqlite_url
from node.errors import StorageError
from node.journal import Journal
from node.leases import Leases
from node.ledger import Ledger
from node.made import Made
from node.models import Models
from node.pipeline import Pipeline
from node.records import Arrival
from node.spool import Spool
from node.worker import Closer, Worker
from tests.fakes import FakeEngine, ManualClock, PlainRenderer
from tests.films import phantom

DS = phantom("worker")


def _never(*_: object) -> bool:
    return False


class _Bench:
    """A ledger with one received study, a worker, and a clock that stands still."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock()
        self.spool = Spool(StorageSettings(root=root, free_min_gb=0, free_min_percent=0))
        self.spool.prepare()
        database = open_ledger(sqlite_url(self.spool.root / "ledger.sqlite"))
        self.ledger, self.journal = Ledger(database), Journal(database)
        pipeline = Pipeline(
            Models(FakeEngine()), PlainRenderer(), OutputSettings(), self.spool, self.clock
        )
        work, outbox = WorkSettings(lease_s=60, max_attempts=2), OutboxSettings()
        self.leases = Leases(work, self.ledger, self.clock)
        news = Announcements(database, self.clock, lambda: None)
        self.closer = Closer(self.ledger, news, StudySettings(), self.clock, frozenset, _never)
        self.worker = Worker("w", self.ledger, pipeline, self.leases, self.clock, work, outbox)
        self.path = self._receive()

    def _receive(self) -> Path:
        path, sha256 = self.spool.store_output(Made.of(DS))
        arrival = Arrival(
            sop_instance_uid=DS.SOPInstanceUID,
            sop_class_uid=DS.SOPClassUID,
            study_uid=DS.StudyInstanceUID,
            series_uid=DS.SeriesInstanceUID,
            transfer_syntax_uid=DS.file_meta.TransferSyntaxUID,
            patient_digest="p",
            content_digest=sha256,
            num_bytes=1,
            path=path,
            peer="pacs",
        )
        self.ledger.record_arrival(arrival, self.clock.now())
        return self.spool.path(path)

    def state(self) -> tuple[str, str]:
        (row,) = self.journal.study(DS.StudyInstanceUID)
        return row["state"], row["reason"]


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    return _Bench(tmp_path / "root")


def test_a_study_is_closed_when_it_is_quiet_and_then_drafted(bench: _Bench) -> None:
    assert not bench.closer.step()
    bench.clock.advance(8)
    assert bench.closer.step()
    assert bench.worker.step()
    assert bench.state() == ("DONE", "no peer is to receive it")
    assert not bench.worker.step()


def test_a_full_disk_postpones_the_draft(bench: _Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk refused: No space left on device")

    bench.clock.advance(8)
    bench.closer.step()
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "store_output", full)
        for _ in range(5):
            assert bench.worker.step()
            assert bench.state() == ("RUNNING", "the disk refused: No space left on device")
            assert not bench.worker.step()
            bench.clock.advance(31)
    assert bench.worker.step()
    assert bench.state()[0] == "DONE"


def test_a_film_that_vanished_fails_the_study(bench: _Bench) -> None:
    bench.path.unlink()
    bench.clock.advance(8)
    bench.closer.step()
    bench.worker.step()
    assert bench.state() == ("FAILED", "a stored image cannot be read back")
