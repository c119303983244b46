"""``cxr-train``: from a folder of films to a trained run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from engine import completion
from engine.bundle import open_bundle
from engine.errors import CxrError
from engine.nets.load import SFT2, SFT3, SFT4, TOKENIZER2
from engine.pipe import ends_with_its_reader
from training import config
from training.adopt import stages as adoption
from training.align import cli as align_cli
from training.average import Member, average
from training.evaluate import cli as evaluate_cli
from training.evaluate import rexrank
from training.preferences import cli as preferences_cli
from training.stages import Run
from training.tasks import cli as tasks_cli
from training.tasks.table import FILE
from training.vqa import cli as vqa_cli

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


def adopt(run: Run, options: argparse.Namespace) -> None:
    """Take a bundle's networks as the first stages of a fresh run."""
    bundle = open_bundle(options.bundle)
    proof = adoption.adopt(bundle, run.recipe, run.run_dir)
    print(f"{run.run_dir}: goes on from {bundle.name} {bundle.version}, {bundle.digest[:12]}")
    for name, value in asdict(proof).items():
        print(f"{name}: {value:.4g}")


def classifier(run: Run, options: argparse.Namespace) -> None:
    """Fit the film classifier."""
    run.train_classifier()


def calibrate(run: Run, options: argparse.Namespace) -> None:
    """Calibrate the classifier's probabilities on val."""
    run.calibrate()


def tokenizer(run: Run, options: argparse.Namespace) -> None:
    """Fit the VQ-GAN."""
    run.train_tokenizer()


def tokenizer2(run: Run, options: argparse.Namespace) -> None:
    """Fit the VQ-GAN further, second pass."""
    run.train_tokenizer(TOKENIZER2)


def encode(run: Run, options: argparse.Namespace) -> None:
    """Encode the films that have a report."""
    run.encode(vqa_cli.cluster(options))


def sft(run: Run, options: argparse.Namespace) -> None:
    """Tune the language model, stage one."""
    run.train_language_model(options.base)


def sft2(run: Run, options: argparse.Namespace) -> None:
    """Tune the language model further, stage two."""
    run.train_language_model(options.base, SFT2)


def sft3(run: Run, options: argparse.Namespace) -> None:
    """Tune the language model once more, stage three."""
    run.train_language_model(options.base, SFT3)


def sft4(run: Run, options: argparse.Namespace) -> None:
    """Tune the language model on tasks, stage four."""
    run.train_language_model(options.base, SFT4)


def mean(run: Run, options: argparse.Namespace) -> None:
    """Average language models that were tuned on from one start."""
    print(average(run, [Member.parse(text) for text in options.of]))


def everything(run: Run, options: argparse.Namespace) -> None:
    """Run every stage in order; finished ones are skipped by their checkpoints."""
    if not (run.run_dir / "images.npy").is_file():
        catalog(run, options)
    classifier(run, options)
    calibrate(run, options)
    tokenizer(run, options)
    if run.recipe.tokenizer2 is not None:
        tokenizer2(run, options)
    if not (run.run_dir / "codes.npy").is_file():
        encode(run, options)
    if not (run.run_dir / "vqa.parquet").is_file():
        run.make_questions()
    sft(run, options)
    if run.recipe.sft2 is not None:
        sft2(run, options)
    if run.recipe.sft3 is not None:
        sft3(run, options)
    if run.recipe.sft4 is not None:
        if not (run.run_dir / FILE).is_file():
            run.make_instructions(options.mixture)
        sft4(run, options)


VERBS: dict[str, Verb] = {
    "catalog": catalog,
    "adopt": adopt,
    "classifier": classifier,
    "calibrate": calibrate,
    "tokenizer": tokenizer,
    "tokenizer2": tokenizer2,
    "encode": encode,
    "sft": sft,
    "sft2": sft2,
    "sft3": sft3,
    "sft4": sft4,
    "average": mean,
    "all": everything,
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="cxr-train", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True)
    for name, verb in VERBS.items():
        added = common(verbs.add_parser(name, help=verb.__doc__))
        added.set_defaults(call=verb)
        if verb is adopt:
            added.add_argument("--bundle", type=Path, help="bundle to go on from (default: demo)")
        if verb in (encode, everything):
            vqa_cli.clustered(added)
        if verb is mean:
            added.add_argument(
                "--of", action="append", default=[], metavar="RUN/STAGE=SHARE",
                help="a member, twice or more; shares are divided by their sum",
            )  # fmt: skip
        if verb is everything:
            tasks_cli.mixed(added)
    vqa_cli.add_verbs(verbs, common)
    preferences_cli.add_verb(verbs, common)
    align_cli.add_verb(verbs, common)
    tasks_cli.add_verbs(verbs, common)
    evaluation = verbs.add_parser("evaluate", help="measure a trained run")
    measures = evaluation.add_subparsers(dest="measure", required=True)
    evaluate_cli.add_verbs(measures, common)
    vqa_cli.add_measure(measures, common)
    align_cli.add_measures(measures, common)
    tasks_cli.add_measure(measures, common)
    inference = verbs.add_parser("inference", help="report on the studies of a ReXrank file")
    rexrank.add_arguments(inference)
    completion.add_verb(verbs)
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


@ends_with_its_reader
def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cxr-train``; return its exit code."""
    options = parser().parse_args(arguments)
    if options.verb == "completion":
        print(completion.script(parser(), options.shell), end="")
        return 0
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if options.verb == "inference":
            return rexrank.infer(options)
        recipe = config.load(options.recipe, options.set)
        options.call(Run(recipe, options.run), options)
    except CxrError as fault:
        print(f"error: {fault.lines()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; start the same command again to resume", file=sys.stderr)
        return 130
    return 0
