"""The verb of `cxr-node` that tries the rules of the site on a film."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from node.cli_open import settings_of
from node.cli_output import console


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verb to the command line."""
    rules = verbs.add_parser("rules", help="try the rules of the configuration on a film")
    actions = rules.add_subparsers(dest="action", required=True, metavar="{test}")
    test = actions.add_parser(
        "test", parents=[common, machine], help="tell what would become of a film, and why"
    )
    test.add_argument("file", metavar="FILE", type=Path, help="a DICOM film")
    test.add_argument("--calling", metavar="AET", default="", help="who sends it")
    test.add_argument(
        "--called", metavar="AET", default="", help="the title of ours that it is sent to"
    )
    test.add_argument(
        "--at",
        metavar="TIME",
        type=_local_time,
        default=None,
        help='when its study is complete, local time as "2026-11-23 21:00"; now',
    )


def _local_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").astimezone()
    except ValueError:
        raise argparse.ArgumentTypeError('write local time as "2026-11-23 21:00"') from None


def _rules(options: argparse.Namespace) -> int:
    """Show what would become of a film."""
    from node.rule_test import outcome, try_film

    trial = try_film(
        settings_of(options),
        options.file,
        calling=options.calling,
        called=options.called,
        at=options.at or datetime.now().astimezone(),
    )
    if options.json:
        print(json.dumps({**trial.as_json(), "outcome": outcome(trial)}, indent=2))
        return 0
    console().print(escape(f"{options.file}: {outcome(trial)}"), soft_wrap=True)
    table = Table("rule", "", "why not", title="rules", title_justify="left", box=None)
    for rule in trial.rules:
        table.add_row(escape(rule.name), "matches" if rule.matched else "", escape(rule.why_not))
    console().print(table)
    route = trial.route
    urgency = "stat" if route.is_stat else "routine"
    console().print(f"rule: {escape(route.rule) or 'none'}; {urgency}; bundle {trial.bundle}")
    for name, kinds in trial.sends.items():
        until = trial.waits.get(name)
        wait = f" (waits: quiet hours until {until})" if until else ""
        console().print(escape(f"to {name}: {', '.join(kinds)}{wait}"), soft_wrap=True)
    return 0


VERBS = {"rules": _rules}
