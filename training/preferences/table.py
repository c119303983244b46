"""Preferences on disk: ``pairs.parquet``, ``singles.parquet`` and ``statistics.json``.

Written aside and renamed, so whoever reads finds a whole set or none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from training import parquet
from training.errors import PreferenceError
from training.preferences.pairs import Pair, Preferences, Single

Row = TypeVar("Row", Pair, Single)
PAIRS, SINGLES, STATISTICS = "pairs.parquet", "singles.parquet", "statistics.json"
TYPES = {"str": pa.string(), "float": pa.float64(), "bool": pa.bool_()}


def schema_of(kind: type[Pair] | type[Single]) -> pa.Schema:
    """Return the columns of a table."""
    return pa.schema([pa.field(f.name, TYPES[str(f.type)], nullable=False) for f in fields(kind)])


def write(found: Preferences, statistics: dict[str, Any], output: Path) -> None:
    """Write a set of preferences into a folder, which is made."""
    output.mkdir(parents=True, exist_ok=True)
    save(found.pairs, Pair, output / PAIRS)
    save(found.singles, Single, output / SINGLES)
    text = json.dumps(statistics, indent=1) + "\n"
    (output / STATISTICS).write_text(text, encoding="utf-8")


def save(rows: Sequence[Row], kind: type[Row], path: Path) -> None:
    """Write one table."""
    parquet.store([asdict(row) for row in rows], path, schema_of(kind))


def read(kind: type[Row], path: Path) -> list[Row]:
    """Read one table.

    Raises
    ------
    PreferenceError
        There is none, or it has other columns.
    """
    if not path.is_file():
        raise PreferenceError(f"no preferences at {path}", hint="run `cxr-train preferences` first")
    table = pq.read_table(path)
    if table.schema.names != schema_of(kind).names:
        raise PreferenceError(f"{path} is no table of preferences of this version")
    return [kind(**row) for row in table.to_pylist()]


def read_pairs(folder: Path) -> list[Pair]:
    """Read the pairs of a folder."""
    return read(Pair, folder / PAIRS)


def read_singles(folder: Path) -> list[Single]:
    """Read the singles of a folder."""
    return read(Single, folder / SINGLES)
