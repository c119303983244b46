"""The ledger moves to PostgreSQL whole, once, and goes on there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from node.app import Node
from node.cli import main
from node.config import NodeSettings
from node.database import ledger_path, ledger_url, open_ledger, sqlite_url
from node.errors import LedgerError
from node.journal import Journal
from node.ledger import Ledger
from node.migration import MIGRATED, migrate
from node.records import Rejection
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, send, settings_for, wait_for_state
from tests.postgres import Postgres


def _ignore(_table: str, _num_rows: int) -> None:
    pass


def _shared(settings: NodeSettings, postgres: Postgres) -> NodeSettings:
    ledger = settings.ledger.model_copy(update={"url": postgres.database()})
    return settings.model_copy(update={"ledger": ledger})


def test_a_node_goes_on_where_its_file_ended(
    tmp_path: Path, pacs: Pacs, postgres: Postgres
) -> None:
    settings, ds = settings_for(tmp_path / "root", pacs.port), phantom("moved")
    first = Node(settings, FakeEngine())
    first.start()
    send(first, ds)
    wait_for_state(first, ds, "DONE")
    before = first.journal.study(ds.StudyInstanceUID)
    first.journal.note_rejection(Rejection("association", "EVIL", "10.0.0.1", "who?"), time.time())
    first.stop()

    shared = settings.model_copy(update={"node": _shared(settings.node, postgres)})
    counts = migrate(shared.node, _ignore)
    assert (counts["instance"], counts["study"], counts["rejection"]) == (1, 1, 1)
    assert not ledger_path(settings.node).exists()
    assert (tmp_path / "root" / MIGRATED).exists()

    second = Node(shared, FakeEngine())
    second.start()
    assert second.journal.study(ds.StudyInstanceUID) == before
    late = phantom("moved", SOPInstanceUID="1.2.3.4")
    send(second, late)
    wait_for_state(second, ds, "DONE", "DONE")
    second.journal.note_rejection(
        Rejection("association", "EVIL", "10.0.0.1", "again"), time.time()
    )
    assert [row["reason"] for row in second.journal.rejections()] == ["again", "who?"]
    second.stop()


def test_two_ledgers_are_never_joined(tmp_path: Path, postgres: Postgres) -> None:
    settings = NodeSettings.model_validate({"storage": {"root": tmp_path}})
    shared = _shared(settings, postgres)
    for url in (sqlite_url(tmp_path / "ledger.sqlite"), ledger_url(shared)):
        engine = open_ledger(url)
        Journal(engine).note_rejection(Rejection("association", "A", "10.0.0.1", "x"), 1)
        engine.dispose()
    with pytest.raises(LedgerError, match="already"):
        migrate(shared, _ignore)
    engine = open_ledger(sqlite_url(tmp_path / "ledger.sqlite"))
    assert len(Journal(engine).rejections()) == 1
    engine.dispose()


def test_what_cannot_be_moved_says_why(tmp_path: Path, postgres: Postgres) -> None:
    settings = NodeSettings.model_validate({"storage": {"root": tmp_path}})
    with pytest.raises(LedgerError, match="no PostgreSQL"):
        migrate(settings, _ignore)
    with pytest.raises(LedgerError, match="is missing"):
        migrate(_shared(settings, postgres), _ignore)


def test_the_verb_says_what_it_moved(
    tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_ledger(sqlite_url(tmp_path / "ledger.sqlite"))
    Ledger(engine)
    Journal(engine).note_rejection(Rejection("association", "A", "10.0.0.1", "x"), 1)
    engine.dispose()
    node = {"storage": {"root": str(tmp_path)}, "ledger": {"url": postgres.database()}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"node": node}))
    assert main(["migrate", "-c", str(config)]) == 0
    assert "1 in rejection" in capsys.readouterr().out
    assert main(["migrate", "-c", str(config)]) == 1
    assert "is missing" in capsys.readouterr().err


def test_the_verb_says_it_in_json(
    tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_ledger(sqlite_url(tmp_path / "ledger.sqlite"))
    Journal(engine).note_rejection(Rejection("association", "A", "10.0.0.1", "x"), 1)
    engine.dispose()
    node = {"storage": {"root": str(tmp_path)}, "ledger": {"url": postgres.database()}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"node": node}))
    assert main(["migrate", "-c", str(config), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["rows"]["rejection"] == 1
    assert (tmp_path / shown["kept_as"]).exists()
