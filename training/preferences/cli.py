"""The verb ``preferences``: sample, judge, pair."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from engine.pipeline import Engine
from training.config import JudgeName
from training.preferences import build
from training.preferences.judges import open_judge
from training.preferences.pairs import READER, Preferences
from training.stages import Run

Common = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]


def preferences(run: Run, options: argparse.Namespace) -> None:
    """Sample reports on training films, judge them and pair the best with the worst."""
    if options.feedback:
        show(build.of_readers(run, Engine.load(options.bundle), options.feedback), run, READER)
        return
    name = options.judge or run.recipe.preferences.judge
    judge = open_judge(name, options.judges, options.judges_python)
    if not options.judge_only:
        build.sample(run, Engine.load(options.bundle), options.limit)
    show(build.prefer(run, name, judge), run, name)


def show(made: Preferences, run: Run, name: str) -> None:
    """Print what was made and where it lies."""
    Console().print(figures(build.statistics_of(made, name)))
    print(f"written to {build.folder(run, name)}")


def figures(statistics: dict[str, Any]) -> Table:
    """Return the statistics of a set as a table."""
    table = Table("preferences", "")
    for name, value in statistics.items():
        told = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), told)
    return table


def add_verb(verbs: Any, common: Common) -> None:
    """Add the verb."""
    added = common(verbs.add_parser("preferences", help=preferences.__doc__))
    added.set_defaults(call=preferences)
    added.add_argument("--bundle", type=Path, help="bundle that writes (default: demo)")
    added.add_argument("--limit", type=int, default=0, help="studies at most (0: all)")
    added.add_argument("--judge", choices=get_args(JudgeName), help="default: the recipe's")
    added.add_argument("--judge-only", action="store_true", help="judge what has been sampled")
    added.add_argument("--feedback", type=Path, help="take what readers made of drafts instead")
    added.add_argument("--judges", type=Path, help="folder of bertscore/ radgraph/ green/")
    added.add_argument("--judges-python", type=Path, help="interpreter with their packages")
