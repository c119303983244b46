"""``cxr-train evaluate``: one verb a measure; predictions first, then figures, tables and plots."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from training.evaluate.classifier_figures import evaluate_classifier
from training.evaluate.conditioning import evaluate_conditioning
from training.evaluate.drawings import evaluate_drawings
from training.evaluate.figure_table import figure_table
from training.evaluate.gallery import write_gallery
from training.evaluate.guard_figures import evaluate_guard
from training.evaluate.published_metrics import lines
from training.evaluate.reconstruction import evaluate_tokenizers
from training.evaluate.report_tables import markdown, write_tables
from training.evaluate.reports import evaluate_reports, read_predictions, score_published
from training.evaluate.retention import evaluate_retention
from training.evaluate.vqa import evaluate_vqa
from training.stages import Run

Common = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
Verb = Callable[[Run, argparse.Namespace], None]


def classifier(run: Run, options: argparse.Namespace) -> None:
    """Measure the film classifier: AUROC a finding, view accuracy, calibration."""
    Console().print(figure_table(evaluate_classifier(run)))


def guard(run: Run, options: argparse.Namespace) -> None:
    """Measure whom the guard lets in: films as they are, turned, inverted, and other images."""
    Console().print(figure_table(evaluate_guard(run, options.bundle, options.limit)))


def tokenizer(run: Run, options: argparse.Namespace) -> None:
    """Measure what the tokenizer keeps, beside other runs' tokenizers (an ablation)."""
    for name, figures in evaluate_tokenizers(run, options.against, options.limit).items():
        Console().print(name, figure_table(figures))


def conditioning(run: Run, options: argparse.Namespace) -> None:
    """Measure whether reports depend on the film and drawings on their prompt."""
    Console().print(figure_table(evaluate_conditioning(run, options.limit)))


def drawings(run: Run, options: argparse.Namespace) -> None:
    """Draw val reports and judge the drawings: findings, realism, copies."""
    Console().print(figure_table(evaluate_drawings(run, options.bundle, options.drawings)))


def reports(run: Run, options: argparse.Namespace) -> None:
    """Draft val films and measure the drafts beside two baselines."""
    found = evaluate_reports(run, options.bundle, options.limit)
    output = run.run_dir / "evaluate" / "reports"
    write_tables(found, output)
    write_gallery(run, read_predictions(output), output)
    print(markdown(found))
    for line in lines(score_published(run, options.judges, options.judges_python)):
        Console().print(line, highlight=False, markup=False)


def retention(run: Run, options: argparse.Namespace) -> None:
    """Measure what tuning cost the model of its plain English, beside its base."""
    Console().print(
        figure_table(evaluate_retention(run, options.base, options.texts, options.stage))
    )


def everything(run: Run, options: argparse.Namespace) -> None:
    """Run every measure in turn."""
    for name, verb in MEASURES.items():
        if name != ALL:
            Console().rule(name)
            verb(run, options)
    Console().rule("vqa")
    Console().print(figure_table(evaluate_vqa(run, options.bundle, options.limit)))


ALL = "all"
MEASURES: dict[str, Verb] = {
    "classifier": classifier,
    "guard": guard,
    "tokenizer": tokenizer,
    "conditioning": conditioning,
    "drawings": drawings,
    "reports": reports,
    "retention": retention,
    ALL: everything,
}
ON_A_BUNDLE = ("guard", "drawings", "reports", ALL)


def add_verbs(
    measures: argparse._SubParsersAction[argparse.ArgumentParser], common: Common
) -> None:
    """Add every measure below ``evaluate``."""
    for name, verb in MEASURES.items():
        added = common(measures.add_parser(name, help=verb.__doc__))
        added.add_argument("--limit", type=int, default=0, help="films at most (0: all)")
        added.set_defaults(call=verb)
        if name in ON_A_BUNDLE:
            added.add_argument("--bundle", type=Path, help="bundle to measure (default: demo)")
        if name in ("drawings", ALL):
            added.add_argument("--drawings", type=int, default=160, help="films to draw")
        if name in ("tokenizer", ALL):
            added.add_argument(
                "--against", type=Path, nargs="*", default=[], help="other runs to compare"
            )
        if name in ("reports", ALL):
            added.add_argument("--judges", type=Path, help="folder of chexbert/ radgraph/ green/")
            added.add_argument("--judges-python", type=Path, help="interpreter with their packages")
        if name in ("retention", ALL):
            added.add_argument("--texts", type=Path, help="JSON lines of exchanges to ask")
            added.add_argument("--stage", help="whose model, as align/NAME (default: the last)")
