"""A ledger of any earlier version opens with all that it held, and as if it were made today."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from node.database import open_engine, open_ledger, sqlite_url
from node.errors import LedgerError
from node.journal import Journal
from node.ledger import Ledger
from node.records import Recorded
from node.schema import SCHEMA_VERSION, metadata, study, version
from node.transactions import writing
from node.upgrades import BEFORE, upgrade
from tests.node.test_ledger import ARRIVAL

FIRST = Path(__file__).with_name("ledgers") / "first.sql"
"""The ledger of the first version: a study that is done, one that receives, a rejection."""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST.read_text())
    return path


def test_the_first_ledger_opens_with_all_that_it_held(first: Path) -> None:
    engine = open_ledger(sqlite_url(first))
    journal, ledger = Journal(engine), Ledger(engine)
    done, receiving = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.2"
    assert {row["study_uid"]: row["state"] for row in journal.studies()} == {
        done: "DONE",
        receiving: "RECEIVING",
    }
    shown = journal.study(done)[0]
    assert shown["result"]["report"]["text"] == "The lungs are clear."
    assert [row["status"] for row in shown["outputs"]] == ["sent"]
    assert journal.rejections()[0]["calling_aet"] == "STRANGER"
    assert [one.study_uid for one in ledger.receiving()] == [receiving]
    assert ledger.replay(done, 1763800000.0) == 2
    engine.dispose()


def test_an_image_of_the_first_ledger_that_comes_again_is_no_conflict(first: Path) -> None:
    engine = open_ledger(sqlite_url(first))
    study_uid = "1.2.826.0.1.3680043.10.1.2"
    again = replace(ARRIVAL, study_uid=study_uid, sop_instance_uid=f"{study_uid}.1")
    assert Ledger(engine).record_arrival(again, 1763700010.0) is Recorded.SAME
    engine.dispose()


def test_the_first_ledger_is_copied_before_it_is_upgraded(first: Path) -> None:
    open_ledger(sqlite_url(first)).dispose()
    copy = first.with_name(BEFORE.format(name=first.name, version=SCHEMA_VERSION))
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM study").fetchone() == (2,)
        names = {row[1] for row in connection.execute("PRAGMA table_info(instance)")}
    assert "sha256" in names
    copy.unlink()
    open_ledger(sqlite_url(first)).dispose()
    assert not copy.exists()


def test_an_upgraded_ledger_is_like_one_made_today(url: sa.URL) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        without = [table for table in metadata.sorted_tables if table is not version]
        metadata.create_all(connection, tables=without)
        for name in ("priority", "called_aet"):
            connection.execute(sa.text(f"ALTER TABLE study DROP COLUMN {name}"))
        connection.execute(sa.text("ALTER TABLE commitment_request DROP COLUMN reported_at"))
        connection.execute(sa.text("DROP TABLE account"))
        connection.execute(sa.text("DROP TABLE feedback"))
    engine.dispose()
    again = open_ledger(url)
    with again.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert connection.execute(sa.select(version.c.version_num)).scalar_one() == SCHEMA_VERSION
    again.dispose()


def test_a_failed_upgrade_leaves_the_ledger_as_it_was(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(connection: sa.Connection, found: str) -> None:
        upgrade(connection, found)
        raise sa.exc.OperationalError("ALTER", {}, Exception("disk full"))

    monkeypatch.setattr("node.upgrades.upgrade", break_off)
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(sqlite_url(first))
    with closing(sqlite3.connect(first)) as connection:
        names = {row[1] for row in connection.execute("PRAGMA table_info(instance)")}
    assert "sha256" in names


def test_a_ledger_of_a_later_version_is_refused(url: sa.URL) -> None:
    engine = open_ledger(url)
    with writing(engine) as connection:
        connection.execute(version.update().values(version_num="9999"))
    engine.dispose()
    with pytest.raises(LedgerError, match="later version") as caught:
        open_ledger(url)
    assert "restore" in caught.value.hint


def test_a_node_of_the_version_before_can_go_on_beside_us(url: sa.URL) -> None:
    engine = open_ledger(url)
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO study (study_uid, generation, key, state, reason, peer, first_at,"
                " last_at, attempts) VALUES ('1.2', 1, 'k', 'RECEIVING', '', 'pacs', 1, 1, 0)"
            )
        )
        row = connection.execute(sa.select(study)).one()
    assert (row.priority, row.called_aet) == (0, "")
    engine.dispose()
