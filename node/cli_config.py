"""The verbs of `cxr-node` that are about its configuration: a first one, its schema, all of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from node.cli_output import console
from node.config_file import load
from node.config_init import QUESTIONS, InitRefused, answers, schema_text, write
from node.configuration_state import read_state
from node.settings_view import effective


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verbs to the command line."""
    init = verbs.add_parser(
        "init", parents=[machine], help="write a first config.yaml, from a few answers"
    )
    for question in QUESTIONS:
        option = f"--{question.name.replace('_', '-')}"
        init.add_argument(option, metavar="VALUE", help=f"{question.text} ({question.default})")
    init.add_argument(
        "--send", action=argparse.BooleanOptionalAction, default=None, help="send the drafts back"
    )
    init.add_argument("--yes", action="store_true", help="ask nothing: defaults for the rest")
    init.add_argument("--output", metavar="FILE", type=Path, default=Path("config.yaml"))
    init.add_argument("--force", action="store_true", help="write over a file that is there")
    schema = verbs.add_parser("schema", help="print the JSON Schema of config.yaml, for editors")
    schema.add_argument("--output", metavar="FILE", type=Path, help="write it to a file")
    verbs.add_parser(
        "config",
        parents=[common, machine],
        help="list every key with its value and where that is written",
    )


def _init(options: argparse.Namespace) -> int:
    """Write a first configuration file."""
    given = {question.name: getattr(options, question.name) for question in QUESTIONS}
    sends = True if options.send is None and options.yes else options.send
    values = answers(given, sends, _default if options.yes else _prompt)
    path, schema = write(options.output, values, force=options.force)
    if options.json:
        print(json.dumps({"config": str(path), "schema": str(schema)}, indent=2))
        return 0
    print(f"wrote {path} and {schema}; next:")
    print(f"  cxr-node check -c {path}")
    print(f"  cxr-node run -c {path}")
    return 0


def _default(_text: str, default: str) -> str:
    return default


def _prompt(text: str, default: str) -> str:
    print(f"{text} [{default}]: ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        hint = "give the answers as options, or --yes for the defaults"
        raise InitRefused("nobody answers", hint=hint)
    return line.strip() or default


def _schema(options: argparse.Namespace) -> int:
    """Print the schema."""
    if options.output is None:
        print(schema_text(), end="")
    else:
        options.output.write_text(schema_text(), encoding="utf-8")
    return 0


def _config(options: argparse.Namespace) -> int:
    """List every key with its value and where it is written."""
    loaded = load(options.config, os.environ)
    rows = effective(loaded.settings, loaded.origins)
    state = read_state(loaded.settings.node.storage.root)
    if options.json:
        in_force = None if state is None else state.as_json()
        print(json.dumps({"keys": [asdict(row) for row in rows], "in_force": in_force}, indent=2))
        return 0
    table = Table("key", "value", "from", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(text) for text in (row.key, json.dumps(row.value), row.origin)))
    console().print(table)
    for problem in () if state is None else state.problems:
        print(f"warning: the running node has not taken this file: {problem}", file=sys.stderr)
    return 0


VERBS = {"init": _init, "schema": _schema, "config": _config}
