"""The verbs on questions: ``vqa`` and ``evaluate vqa``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from training.errors import VqaError
from training.evaluate.figure_table import figure_table
from training.evaluate.vqa import evaluate_vqa
from training.jobs.cluster import Cluster
from training.stages import Run
from training.vqa.table import KINDS, Questions

GENERATORS = ("rules", "transformers", "vllm")
Common = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
Verbs = Any
"""What ``argparse`` returns from ``add_subparsers``; its class is private."""


def clustered(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what a verb takes that can run on a cluster."""
    verb.add_argument("--address", help="Ray: `local`, `auto` or HOST:PORT (default: no Ray)")
    verb.add_argument("--actors", type=int, default=1, help="models at most, under Ray")
    verb.add_argument("--gpus", type=float, default=0.0, help="GPUs a model, under Ray")
    return verb


def cluster(options: argparse.Namespace) -> Cluster | None:
    """Return the cluster that a command line names, or ``None``."""
    if options.address is None:
        return None
    return Cluster(options.address, options.actors, options.gpus)


def vqa(run: Run, options: argparse.Namespace) -> None:
    """Write the table of questions on the films."""
    if options.generator == "rules" and options.address:
        raise VqaError("the generator rules runs in this process", hint="leave --address out")
    if options.generator != "rules" and not options.model:
        raise VqaError(f"the generator {options.generator} needs a model", hint="add --model DIR")
    made = run.make_questions(options.generator, options.model or "", cluster(options))
    Console().print(counts_table(made))
    for reason, count in sorted(made.dropped.items()):
        print(f"dropped: {count} ({reason})")


def counts_table(made: Questions) -> Table:
    """Return the number of questions by kind and split."""
    counts = made.counts()
    splits = sorted({split for _, split in counts})
    table = Table("kind", *splits)
    for kind in KINDS:
        table.add_row(kind, *(str(counts.get((kind, split), 0)) for split in splits))
    return table


def evaluate(run: Run, options: argparse.Namespace) -> None:
    """Measure the answers to the val questions against majority answers."""
    Console().print(figure_table(evaluate_vqa(run, options.bundle, options.limit)))


def add_verbs(verbs: Verbs, common: Common) -> None:
    """Add ``vqa`` to a command line."""
    asking = clustered(common(verbs.add_parser("vqa", help=vqa.__doc__)))
    asking.add_argument("--generator", choices=GENERATORS, default="rules")
    asking.add_argument("--model", help="directory of a causal language model")
    asking.set_defaults(call=vqa)


def add_measure(measures: Verbs, common: Common) -> None:
    """Add ``evaluate vqa`` to a command line."""
    answers = measured(common(measures.add_parser("vqa", help=evaluate.__doc__)))
    answers.set_defaults(call=evaluate)


def measured(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what a verb takes that puts questions to a bundle."""
    verb.add_argument("--bundle", type=Path, help="bundle to measure (default: demo)")
    verb.add_argument("--limit", type=int, default=0, help="questions of a kind (0: all)")
    return verb
