"""Moving a ledger from its SQLite file to PostgreSQL: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from node.config import NodeSettings
from node.database import ledger_path, ledger_url, open_ledger, sqlite_url
from node.errors import LedgerError
from node.schema import metadata, version
from node.spool import Spool
from node.transactions import reading, writing

_CHUNK = 1_000
MIGRATED = "ledger.sqlite.migrated"
"""What the file is called afterwards: kept, and never opened by a node again."""

OnRows = Callable[[str, int], None]
"""Told the table and the number of rows that were copied."""


def migrate(settings: NodeSettings, on_rows: OnRows) -> dict[str, int]:
    """Copy every row; return the number of rows of each table.

    Raises
    ------
    LedgerError
        There is nothing to move or nowhere to move it, a node is running, or the target holds a
        ledger already. The source is as it was.
    """
    path = ledger_path(settings)
    if settings.ledger.url is None:
        raise LedgerError("no PostgreSQL to move to", hint="set `node.ledger.url`")
    if not path.exists():
        raise LedgerError(f"no ledger to move: {path} is missing", hint="run the node as it is")
    if Spool(settings.storage).is_locked():
        raise LedgerError("a node works on this storage root", hint="stop it first")
    source, target = open_ledger(sqlite_url(path)), open_ledger(ledger_url(settings))
    try:
        counts = _copy_all(source, target, on_rows)
        _check(source, target)
    finally:
        source.dispose()
        target.dispose()
    _set_aside(path)
    return counts


def _copy_all(source: Engine, target: Engine, on_rows: OnRows) -> dict[str, int]:
    counts = {}
    with reading(source) as old, writing(target) as new:
        tables = [one for one in metadata.sorted_tables if one is not version]
        for table in tables:
            if new.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                hint = "move into an empty database; two ledgers cannot be joined"
                raise LedgerError("the PostgreSQL holds a ledger already", hint=hint)
        for table in tables:
            counts[table.name] = _copy(old, new, table, on_rows)
    return counts


def _copy(old: Connection, new: Connection, table: sa.Table, on_rows: OnRows) -> int:
    num_rows = 0
    for rows in _chunks(old, table):
        new.execute(table.insert(), rows)
        num_rows += len(rows)
        on_rows(table.name, num_rows)
    for column in table.primary_key.columns:
        if isinstance(column.type, sa.Integer) and len(table.primary_key.columns) == 1:
            _advance(new, table, column)
    return num_rows


def _chunks(old: Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    for part in old.execute(sa.select(table)).mappings().partitions(_CHUNK):
        yield [dict(row) for row in part]


def _advance(new: Connection, table: sa.Table, column: sa.Column[Any]) -> None:
    """Let the numbers that the database gives out go on behind the largest that was copied."""
    largest = new.execute(sa.select(sa.func.max(column))).scalar()
    if largest is not None:
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        new.execute(sa.select(sa.func.setval(sequence, largest)))


def _check(source: Engine, target: Engine) -> None:
    """Count once more on both sides, from outside the transaction."""
    with reading(source) as old, reading(target) as new:
        for table in metadata.sorted_tables:
            count = sa.select(sa.func.count()).select_from(table)
            if old.execute(count).scalar() != new.execute(count).scalar():
                raise LedgerError(f"the table {table.name} did not arrive whole")


def _set_aside(path: Path) -> None:
    path.rename(path.with_name(MIGRATED))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
