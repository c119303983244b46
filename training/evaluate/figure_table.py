"""Figures as a table for people and as a file for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from training.evaluate.bootstrap import Figure

METRICS = "metrics.json"


def figure_table(found: Mapping[str, Figure]) -> Table:
    """Return figures with their intervals and the number of cases, one a line."""
    table = Table("figure", "value", "95 % CI", "n")
    for name, figure in found.items():
        interval = f"{figure.low:.4f} … {figure.high:.4f}"
        table.add_row(name, f"{figure.value:.4f}", interval, str(figure.count))
    return table


def store(found: Mapping[str, Figure], output: Path) -> None:
    """Write figures to ``metrics.json`` in a folder, which is made."""
    output.mkdir(parents=True, exist_ok=True)
    values = {name: asdict(figure) for name, figure in found.items()}
    (output / METRICS).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
