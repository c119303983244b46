"""The verb ``align``: tune a model on preferences."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from training.align.plots import journeys
from training.align.stage import FOLDER, Alignment
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
