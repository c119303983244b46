"""How the verbs of `cxr-node` print: tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from node.checks import Check
from node.clock import as_datetime


def show_checks(checks: Sequence[Check], options: argparse.Namespace) -> int:
    """Print checks; return 0 where all are good."""
    if options.json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    else:
        table = Table("", "check", "result", "hint", box=None, pad_edge=False)
        for check in checks:
            mark = "[green]ok[/]" if check.is_good else "[red]FAIL[/]"
            table.add_row(mark, escape(check.name), escape(check.text), escape(check.hint))
        console().print(table)
    return 0 if all(check.is_good for check in checks) else 1


def console() -> Console:
    """Return a console that never cuts a line when its output is read by a program."""
    return Console() if sys.stdout.isatty() else Console(width=240, no_color=True)


def show_table(title: str, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Print rows under headings."""
    table = Table(*columns.values(), title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_cell(name, row[name])) for name in columns))
    console().print(table)


def _cell(name: str, value: object) -> str:
    """Return a value as text; instants as local time."""
    if isinstance(value, float) and (name == "at" or name.endswith("_at")):
        return as_datetime(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return "" if value is None else str(value)
