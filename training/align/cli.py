"""The verbs ``align`` and ``evaluate alignment|tax``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from training.align.experiment import evaluate_alignment, markdown
from training.align.plots import draw_found, journeys
from training.align.stage import FOLDER, Alignment
from training.align.tax import evaluate_tax
from training.align.tax import markdown as tax_table
from training.config import MethodName, Recipe, changed
from training.preferences import build
from training.stages import Run

Common = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]


def align(run: Run, options: argparse.Namespace) -> None:
    """Tune the last stage's model on preferences: dpo, lc-dpo, ipo, kto, orpo, simpo."""
    recipe = with_options(run.recipe, options)
    settings = recipe.align
    folder = options.preferences or build.folder(run, recipe.preferences.judge)
    name = options.name or f"{settings.method}-{settings.beta:g}"
    alignment = Alignment(Run(recipe, run.run_dir), folder, name)
    alignment.learn()
    journeys(run.run_dir / FOLDER, run.run_dir / FOLDER / "journeys.png")
    print(f"{run.run_dir / alignment.stage}: export it with --stage {alignment.stage}")


def alignment(run: Run, options: argparse.Namespace) -> None:
    """Compare aligned bundles with the one that they started from: score, length, labels."""
    found = evaluate_alignment(run, options.bundle, options.bundles)
    output = run.run_dir / "evaluate" / "alignment"
    draw_found(found, output / "alignment.png")
    print(markdown(found), end="")


def tax(run: Run, options: argparse.Namespace) -> None:
    """Measure what alignment cost: questions, drawings, plain English."""
    found = evaluate_tax(run, options.bundle, options.bundles, options.drawings, options.limit)
    print(tax_table(found), end="")


def add_measures(measures: Any, common: Common) -> None:
    """Add the measures on aligned bundles below ``evaluate``."""
    for name, measure in (("alignment", alignment), ("tax", tax)):
        added = common(measures.add_parser(name, help=measure.__doc__))
        added.set_defaults(call=measure)
        added.add_argument("--bundle", type=Path, help="bundle of the start (default: demo)")
        added.add_argument(
            "--bundles", type=Path, nargs="+", required=True, help="aligned ones, as align/NAME"
        )
        if measure is tax:
            added.add_argument("--drawings", type=int, default=160, help="films to draw with each")
            added.add_argument("--limit", type=int, default=0, help="questions a topic (0: all)")


def with_options(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """Return a recipe with what the command line says of its alignment."""
    said = {"method": options.method, "beta": options.beta}
    return changed(recipe, align={name: value for name, value in said.items() if value is not None})


def add_verb(verbs: Any, common: Common) -> None:
    """Add the verb."""
    added = common(verbs.add_parser("align", help=align.__doc__))
    added.set_defaults(call=align)
    added.add_argument("--method", choices=get_args(MethodName), help="default: the recipe's")
    added.add_argument("--beta", type=float, help="default: the recipe's")
    added.add_argument("--name", help="of the result below RUN/align (default: METHOD-BETA)")
    added.add_argument("--preferences", type=Path, help="folder (default: the recipe's judge's)")
