"""The films that a run left on disk, as far as export needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from export.errors import ExportError


@dataclass(frozen=True)
class RunFilms:
    """Catalog rows and pixels of a run directory."""

    rows: list[dict[str, Any]]
    images: NDArray[np.uint8]

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Open ``catalog.parquet`` and ``images.npy`` of a run."""
        table, images = run_dir / "catalog.parquet", run_dir / "images.npy"
        if not table.is_file() or not images.is_file():
            raise ExportError(f"{run_dir} is no run directory", hint="give one with --run")
        return cls(pq.read_table(table).to_pylist(), np.load(images, mmap_mode="r"))

    def frontal(self, split: str) -> NDArray[np.int64]:
        """Return the rows of frontal films of a split."""
        return np.flatnonzero([r["view"] == "frontal" and r["split"] == split for r in self.rows])

    def reported(self, split: str) -> NDArray[np.int64]:
        """Return the rows of frontal films of a split that have a report."""
        has = [bool(self.rows[row]["findings"]) for row in self.frontal(split)]
        return self.frontal(split)[has]

    def texts(self, rows: Iterable[int]) -> list[str]:
        """Return the reports of rows, under their headings."""
        found = (self.rows[row] for row in rows)
        return [f"Findings: {r['findings']}\nImpression: {r['impression']}" for r in found]
