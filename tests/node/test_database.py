"""The database under the ledger: where it is, who may write, and what time it is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from node.config import NodeSettings
from node.database import DatabaseClock, ledger_url, open_ledger, sqlite_url
from node.errors import LedgerError
from node.schema import basic_text
from node.transactions import writing
from tests.postgres import Postgres


def _node(**ledger: object) -> NodeSettings:
    return NodeSettings.model_validate({"ledger": ledger})


def test_the_default_is_a_file_in_the_storage_root(tmp_path: Path) -> None:
    settings = NodeSettings.model_validate({"storage": {"root": tmp_path}})
    assert ledger_url(settings) == sqlite_url(tmp_path / "ledger.sqlite")


def test_a_password_comes_from_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    settings = _node(url="postgresql://cxr@db:5432/cxr", password_file=tmp_path / "password")
    assert ledger_url(settings).password == "s3cret"
    with pytest.raises(ValidationError, match="password_file"):
        _node(url="postgresql://cxr:s3cret@db/cxr")
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger_url(_node(url="postgresql://cxr@db/cxr", password_file=tmp_path / "none"))


@pytest.mark.parametrize("text", ["mysql://db/cxr", "sqlite:///x", "postgresql:///cxr", "cxr"])
def test_only_a_postgresql_can_be_shared(text: str) -> None:
    with pytest.raises(ValidationError, match="postgresql://user@host"):
        _node(url=text)


def test_a_database_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(LedgerError, match="cannot be opened") as caught:
        open_ledger(ledger_url(_node(url="postgresql://cxr@127.0.0.1:1/cxr")))
    assert "PostgreSQL" in caught.value.hint


def test_one_writer_waits_for_the_other_and_a_reader_for_nobody(url: sa.URL) -> None:
    engine, order = open_ledger(url), list[str]()

    def write() -> None:
        with writing(engine):
            order.append("second")

    with writing(engine) as connection:
        connection.execute(basic_text.insert().values(destination="x", at=1.0))
        other = threading.Thread(target=write)
        other.start()
        with engine.connect().execution_options(reading=True) as reader:
            known = reader.execute(sa.select(basic_text.c.destination)).all()
        assert known == []
        time.sleep(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    engine.dispose()


def test_many_processes_may_open_a_new_shared_ledger_at_once(postgres: Postgres) -> None:
    url = ledger_url(_node(url=postgres.database()))
    failures: list[Exception] = []

    def open_it() -> None:
        try:
            open_ledger(url).dispose()
        except LedgerError as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_clock_is_that_of_the_database(postgres: Postgres) -> None:
    engine = open_ledger(ledger_url(_node(url=postgres.database())))
    clock = DatabaseClock(engine)
    assert abs(clock.now() - time.time()) < 1
    assert clock.now() <= clock.now()
    engine.dispose()
