"""The verbs on tasks: ``instructions build``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from rich.console import Console

from training.stages import Run
from training.tasks import statistics

Common = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
Verbs = Any
"""What ``argparse`` returns from ``add_subparsers``; its class is private."""


def build(run: Run, options: argparse.Namespace) -> None:
    """Write the table of instruction rows for a mixture of tasks."""
    made = run.make_instructions(options.mixture)
    Console().print(statistics.shown(statistics.lines(made, run.count_tokens())))
    for licence, count in made.licences().items():
        print(f"licence: {count} training rows ({licence})")
    for reason, count in sorted(made.dropped.items()):
        print(f"dropped: {count} ({reason})")


def mixed(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what a verb takes that makes the table."""
    verb.add_argument("--mixture", default="films", help="shipped mixture of tasks or YAML file")
    return verb


def add_verbs(verbs: Verbs, common: Common) -> None:
    """Add ``instructions build`` to a command line."""
    instructions = verbs.add_parser("instructions", help="rows that teach tasks")
    steps = instructions.add_subparsers(dest="step", required=True)
    mixed(common(steps.add_parser("build", help=build.__doc__))).set_defaults(call=build)
