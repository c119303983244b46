"""The verbs on tasks: ``instructions build`` and ``evaluate tasks``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from training.evaluate import task_tables
from training.evaluate.tasks import evaluate_tasks, output_of
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


def evaluate(run: Run, options: argparse.Namespace) -> None:
    """Put val items of every task, or CheXbench's, to a bundle; score them beside baselines."""
    found = evaluate_tasks(run, options.bundle, options.limit, options.items, options.images)
    output = output_of(run, options.items)
    films = {} if options.items else {film.image_id: film for film in run.catalog.films}
    print(task_tables.store(found, films, output), end="")


def mixed(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what a verb takes that makes the table."""
    verb.add_argument("--mixture", default="films", help="shipped mixture of tasks or YAML file")
    return verb


def add_verbs(verbs: Verbs, common: Common) -> None:
    """Add ``instructions build`` to a command line."""
    instructions = verbs.add_parser("instructions", help="rows that teach tasks")
    steps = instructions.add_subparsers(dest="step", required=True)
    mixed(common(steps.add_parser("build", help=build.__doc__))).set_defaults(call=build)


def add_measure(measures: Verbs, common: Common) -> None:
    """Add ``evaluate tasks`` to a command line."""
    asking = common(measures.add_parser("tasks", help=evaluate.__doc__))
    asking.add_argument("--bundle", type=Path, help="bundle to measure (default: demo)")
    asking.add_argument("--limit", type=int, default=0, help="items of a task at most (0: all)")
    asking.add_argument("--items", type=Path, help="CheXbench's data.json (default: val rows)")
    asking.add_argument("--images", type=Path, help="folder of its films (default: the file's)")
    asking.set_defaults(call=evaluate)
