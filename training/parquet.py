"""Rows in Parquet files: each is written aside and renamed, so that none is ever half there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def store(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    schema: pa.Schema | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write rows to a file, its folder made; ``notes`` go as JSON into the file's metadata.

    Without a schema the columns are those of the rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    if notes is not None:
        told = {name: json.dumps(value) for name, value in notes.items()}
        table = table.replace_schema_metadata(told)
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(table, partial)
    partial.replace(path)
