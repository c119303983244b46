"""Figures as a table for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from training.evaluate.bootstrap import Figure


def figure_table(found: Mapping[str, Figure]) -> Table:
    """Return figures with their intervals and the number of cases, one a line."""
    table = Table("figure", "value", "95 % CI", "n")
    for name, figure in found.items():
        interval = f"{figure.low:.4f} … {figure.high:.4f}"
        table.add_row(name, f"{figure.value:.4f}", interval, str(figure.count))
    return table
