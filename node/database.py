"""The database under the ledger: a SQLite file, or a PostgreSQL that several machines share.

Both keep one promise: of two transactions that write, one comes wholly after the other, so every
rule of the ledger holds as if one node wrote alone. SQLite does so by itself; in PostgreSQL every
writer first takes the same advisory lock, and gives it back by its commit.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from node.config import NodeSettings
from node.errors import LedgerError
from node.schema import SCHEMA_VERSION, metadata, version

_DRIVER = "postgresql+psycopg"
_WRITERS = 0x43585244
"""Key of the lock that writers take, the same for every node (`CXRD`)."""
_CONNECT_S = 10
_SESSION = {
    # a machine that stops in the middle of a transaction must not hold the others up for long
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "30s",
    "statement_timeout": "60s",
    "tcp_user_timeout": "15s",
}


def ledger_path(settings: NodeSettings) -> Path:
    """Return the file of a ledger that is one."""
    return settings.storage.root / "ledger.sqlite"


def ledger_url(settings: NodeSettings) -> sa.URL:
    """Return where the ledger is, its password read from the file that holds it.

    Raises
    ------
    LedgerError
        The file of the password cannot be read.
    """
    ledger = settings.ledger
    if ledger.url is None:
        return sqlite_url(ledger_path(settings))
    url = sa.make_url(ledger.url).set(drivername=_DRIVER)
    if ledger.password_file is None:
        return url
    try:
        return url.set(password=ledger.password_file.read_text().rstrip("\r\n"))
    except OSError as error:
        reason = f"{ledger.password_file} cannot be read: {error.strerror}"
        raise LedgerError(reason, hint="look at `node.ledger.password_file`") from error


def sqlite_url(path: Path) -> sa.URL:
    """Return the URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path))


def open_engine(url: sa.URL) -> Engine:
    """Return an engine whose transactions are announced as writers, unless opened to read.

    Two writers queue up instead of failing half-way. SQLite has a write-ahead log and
    synchronises in full.

    Raises
    ------
    LedgerError
        The driver of PostgreSQL is not installed.
    """
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": 30.0})
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_sqlite_begin)
        return engine
    if find_spec("psycopg") is None:
        hint = "install the extra that brings it: pip install 'cxr-node[cluster]'"
        raise LedgerError("a shared ledger needs psycopg, which is not installed", hint=hint)
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_S, "options": options, "keepalives_idle": 10},
    )
    sa.event.listen(engine, "begin", _on_postgresql_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _is_reading(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("reading", False))


def _on_sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN" if _is_reading(connection) else "BEGIN IMMEDIATE")


def _on_postgresql_begin(connection: Connection) -> None:
    if not _is_reading(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


def open_ledger(url: sa.URL) -> Engine:
    """Open the ledger; make its tables where there are none, upgrade those of earlier versions.

    Raises
    ------
    LedgerError
        It cannot be made, read or written, or a later version of the node has upgraded it.
    """
    engine = open_engine(url)
    try:
        if _known_revision(engine) != SCHEMA_VERSION:
            _bring_up_to_date(engine)
    except (SQLAlchemyError, LedgerError) as error:
        engine.dispose()
        if isinstance(error, LedgerError):
            raise
        place = url.render_as_string(hide_password=True)
        raise LedgerError(
            f"the ledger {place} cannot be opened: {type(error).__name__}", hint=_hint(url)
        ) from error
    return engine


def revision_of(engine: Engine) -> str | None:
    """Return the revision of a ledger: empty before they were counted, None where there is none."""
    with engine.connect().execution_options(reading=True) as connection:
        tables = sa.inspect(connection).get_table_names()
        if version.name not in tables:
            return "" if "study" in tables else None
        return str(connection.execute(sa.select(version.c.version_num)).scalar_one())


def _known_revision(engine: Engine) -> str | None:
    """Return the revision of a ledger that this version of the node can open.

    Raises
    ------
    LedgerError
        A later version has upgraded it.
    """
    found = revision_of(engine)
    if (found or "") > SCHEMA_VERSION:
        reason = f"the ledger is of a later version (revision {found}, ours is {SCHEMA_VERSION})"
        raise LedgerError(
            reason, hint="run that version of cxr-node, or restore the copy from before"
        )
    return found


def _bring_up_to_date(engine: Engine) -> None:
    """Make or upgrade the tables, as the only writer; another node may have been faster."""
    from node.upgrades import copy_before, upgrade  # Alembic takes longer than the rest of a start

    if engine.url.database and _known_revision(engine) is not None and not _is_shared(engine.url):
        copy_before(Path(engine.url.database))
    with engine.begin() as connection:
        found = _known_revision(engine)
        if found is None:
            metadata.create_all(connection)
            connection.execute(version.insert().values(version_num=SCHEMA_VERSION))
        elif found != SCHEMA_VERSION:
            upgrade(connection, found)


def _is_shared(url: sa.URL) -> bool:
    return url.get_backend_name() != "sqlite"


def _hint(url: sa.URL) -> str:
    if not _is_shared(url):
        return "look at `node.storage.root`: does it exist, is it writable, is there room"
    return "does PostgreSQL run there, and may this user make tables in that database"


class DatabaseClock:
    """The time of the database, asked once and carried on: the same for every machine on it."""

    def __init__(self, engine: Engine) -> None:
        asked = time.monotonic()
        with engine.connect().execution_options(reading=True) as connection:
            now = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())")
            self._offset = float(now.scalar_one()) - (asked + time.monotonic()) / 2

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return self._offset + time.monotonic()
