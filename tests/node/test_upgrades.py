"""A ledger of any earlier version opens with all that it held, and as if it were made today."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from node.app import Node
from node.cli import main
from node.config import NodeSettings
from node.database import open_engine, open_ledger, sqlite_url
from node.errors import LedgerError
from node.journal import Journal
from node.ledger import Ledger
from node.ledger_revision import read_revision
from node.records import Recorded
from node.schema import SCHEMA_VERSION, metadata, study, version
from node.transactions import writing
from node.upgrades import BEFORE, upgrade
from tests.films import phantom
from tests.node.conftest import Pacs, free_port, send, settings_for, wait_for_state
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


def test_a_whole_node_serves_a_study_on_the_first_ledger(
    tmp_path: Path, start_node: Callable[..., Node], pacs: Pacs
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection:
        connection.executescript(FIRST.read_text())
    storage = {"root": root, "free_min_gb": 0, "free_min_percent": 0, "keep_days": 36_500}
    storage["remember_days"] = storage["keep_days"]
    node = start_node(settings_for(root, pacs.port, storage=storage))
    film = phantom("after the upgrade")
    assert send(node, film) == [0]
    wait_for_state(node, film, "DONE")
    (report,) = pacs.received
    assert report.StudyInstanceUID == film.StudyInstanceUID
    states = {row["study_uid"]: row["state"] for row in node.journal.studies()}
    assert states["1.2.826.0.1.3680043.10.1.1"] == "DONE"
    assert (root / BEFORE.format(name="ledger.sqlite", version=SCHEMA_VERSION)).exists()


@pytest.mark.parametrize(
    ("change", "is_good", "said"),
    [
        ("", True, "upgrades it to 0003, after a copy"),
        ("CREATE TABLE alembic_version (version_num TEXT)", True, "revision 0001; the next start"),
        ("CREATE TABLE alembic_version (version_num TEXT)", False, "of a later version"),
    ],
    ids=["first", "0001", "later"],
)
def test_check_says_which_revision_a_ledger_has_and_leaves_it(
    change: str, is_good: bool, said: str, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(first)) as connection:
        connection.executescript(change)
        if change:
            number = "0001" if is_good else "9999"
            connection.execute("INSERT INTO alembic_version VALUES (?)", (number,))
        connection.commit()
    before = first.read_bytes()
    config = first.with_name("config.yaml")
    storage = {"root": str(first.parent), "free_min_gb": 0, "free_min_percent": 0}
    config.write_text(yaml.safe_dump({"node": {"storage": storage, "port": free_port()}}))
    main(["check", "-c", str(config), "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ledger"]["is_good"] is is_good
    assert said in rows["ledger"]["text"]
    assert bool(rows["ledger"]["hint"]) is not is_good
    assert first.read_bytes() == before


def test_the_revision_of_a_ledger_in_either_database_is_told(url: sa.URL) -> None:
    node = {"storage": {"root": Path(url.database or "x").parent}}
    if url.get_backend_name() != "sqlite":
        node = {"ledger": {"url": url.set(drivername="postgresql").render_as_string(False)}}
    settings = NodeSettings.model_validate(node)
    assert read_revision(settings).found is None
    open_ledger(url).dispose()
    assert read_revision(settings).is_current
    assert read_revision(settings).text == f"revision {SCHEMA_VERSION}"


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
        connection.execute(sa.text("ALTER TABLE question DROP COLUMN task"))
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
