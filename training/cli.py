"""``cxr-train``: from a folder of films to a trained run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from engine.errors import CxrError
from training import config
from training.evaluate.conditioning import evaluate_conditioning
from training.stages import Run

Verb = Callable[[Run, argparse.Namespace], None]
FILMS = Path("../shared/data/cxr")


def catalog(run: Run, options: argparse.Namespace) -> None:
    """Build the table of films and their pixels."""
    made = run.make_catalog(options.films)
    table = Table("split", "frontal", "lateral", "with report")
    for split in ("train", "val"):
        films = [film for film in made.films if film.split == split]
        views = [sum(film.view == view for film in films) for view in ("frontal", "lateral")]
        reports = sum(film.has_report for film in films)
        table.add_row(split, *map(str, views), str(reports))
    Console().print(table)
    for reason, count in made.dropped.items():
        print(f"dropped: {count} ({reason})")


def classifier(run: Run, options: argparse.Namespace) -> None:
    """Fit the film classifier."""
    run.train_classifier()


def findings(run: Run, options: argparse.Namespace) -> None:
    """Refit the findings head of the classifier."""
    run.fit_findings()


def tokenizer(run: Run, options: argparse.Namespace) -> None:
    """Fit the VQ-GAN."""
    run.train_tokenizer()


def encode(run: Run, options: argparse.Namespace) -> None:
    """Encode the films that have a report."""
    run.encode()


def sft(run: Run, options: argparse.Namespace) -> None:
    """Tune the language model."""
    run.train_language_model(options.base)


def everything(run: Run, options: argparse.Namespace) -> None:
    """Run every stage in order; finished ones are skipped by their checkpoints."""
    if not (run.run_dir / "images.npy").is_file():
        catalog(run, options)
    classifier(run, options)
    findings(run, options)
    tokenizer(run, options)
    if not (run.run_dir / "codes.npy").is_file():
        encode(run, options)
    sft(run, options)


def evaluate(run: Run, options: argparse.Namespace) -> None:
    """Measure whether reports depend on the film and drawings on their prompt."""
    found = evaluate_conditioning(run, options.bundle, options.limit, options.drawings)
    table = Table("figure", "value", "95 % CI", "n")
    for name, figure in found.items():
        interval = f"{figure.low:.4f} … {figure.high:.4f}"
        table.add_row(name, f"{figure.value:.4f}", interval, str(figure.count))
    Console().print(table)


VERBS: dict[str, Verb] = {
    "catalog": catalog,
    "classifier": classifier,
    "findings": findings,
    "tokenizer": tokenizer,
    "encode": encode,
    "sft": sft,
    "all": everything,
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="cxr-train", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True)
    for name, verb in VERBS.items():
        common(verbs.add_parser(name, help=verb.__doc__)).set_defaults(call=verb)
    evaluation = verbs.add_parser("evaluate", help="measure a trained run")
    measures = evaluation.add_subparsers(dest="measure", required=True)
    conditioning = common(measures.add_parser("conditioning", help=evaluate.__doc__))
    conditioning.add_argument("--bundle", type=Path, help="bundle to measure (default: demo)")
    conditioning.add_argument("--limit", type=int, default=0, help="films at most (0: all)")
    conditioning.add_argument("--drawings", type=int, default=120, help="films to draw")
    conditioning.set_defaults(call=evaluate)
    return top


def common(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what every verb takes."""
    verb.add_argument("--recipe", default="demo", help="shipped recipe or YAML file")
    verb.add_argument("--run", type=Path, default=Path("runs/demo"), help="run directory")
    verb.add_argument("--films", type=Path, default=FILMS, help="folder with manifest.jsonl")
    verb.add_argument("--base", type=Path, help="directory of the base language model")
    verb.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    verb.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    return verb


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cxr-train``; return its exit code."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        recipe = config.load(options.recipe, options.set)
        options.call(Run(recipe, options.run), options)
    except CxrError as fault:
        print(f"error: {fault.lines()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start the same command again to resume", file=sys.stderr)
        return 130
    return 0
