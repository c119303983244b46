"""The alignment tax: what learning to prefer reports cost everything else that a model does.

Questions on films, drawings and plain English, of the start and of aligned models, each by the
measure that `training.evaluate` has for it (arXiv 2410.07025, section 4.4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from engine.nets.load import (
    LanguageModel,
    hint_thresholds,
    load_classifier,
    load_language_model,
    load_tokenizer,
)
from engine.pipeline import Engine
from training.align.experiment import START
from training.align.stage import FOLDER
from training.evaluate import retention, vqa
from training.evaluate.bootstrap import Figure, bootstrap, mean_figure
from training.evaluate.drawings import agreement, decode_all, draw_predictions
from training.evaluate.judge import judge, referenced
from training.evaluate.report_tables import cell, row
from training.stages import Run
from training.texts import read
from training.vqa import table as questions

KINDS = ("presence", "location", "severity", "view")
DRAWN = ("auroc_micro", "f1_micro")
RATIO = "text: nats a character, relative to the start"


def evaluate_tax(
    run: Run, start: Path | None, bundles: Sequence[Path], drawings: int, limit: int
) -> dict[str, dict[str, Figure]]:
    """Measure the start and aligned bundles, each in a folder named as its alignment.

    Parameters
    ----------
    drawings
        Films to draw with each.
    limit
        Questions a topic (0: all).
    """
    output = run.run_dir / "evaluate" / "alignment"
    output.mkdir(parents=True, exist_ok=True)
    named = {START: start} | {path.name: path for path in bundles}
    plain = text_losses(run, START)
    found = {}
    for name, path in named.items():
        engine = Engine.load(path)
        found[name] = {
            **answered(run, engine, limit),
            **drawn(
                run, engine, drawings, output / f"drawings-{drawings}-{engine.digest[:16]}.parquet"
            ),
            **kept(plain, text_losses(run, name)),
        }
    stored = {name: {k: asdict(v) for k, v in one.items()} for name, one in found.items()}
    text = json.dumps(stored, indent=1) + "\n"
    (output / "tax.json").write_text(text, encoding="utf-8")
    (output / "tax.md").write_text(markdown(found), encoding="utf-8")
    return found


def answered(run: Run, engine: Engine, limit: int) -> dict[str, Figure]:
    """Return accuracy on the validation questions of a run, by kind."""
    rows = questions.read(run.run_dir / "vqa.parquet")
    majority = vqa.majorities(one for one in rows if one.split == "train" and one.answer_key)
    asked = vqa.chosen((one for one in rows if one.split == "val"), limit)
    predicted = vqa.ask_all(
        asked, vqa.images_of(run), lambda image, text: engine.ask(image, text).text, majority
    )
    figures = vqa.figures(predicted)
    found = {kind: figures.get(f"{kind}, {vqa.SYSTEMS[0]}") for kind in KINDS}
    return {f"question: {kind}": figure for kind, figure in found.items() if figure is not None}


def drawn(run: Run, engine: Engine, count: int, output: Path) -> dict[str, Figure]:
    """Return how well drawings show what their reports say, by the film classifier.

    So many drawings of a bundle are made once.
    """
    path = output / f"drawings-{count}-{engine.digest[:16]}.parquet"
    if not path.is_file():
        draw_predictions(run, engine, count, path)
    table = pq.read_table(path)
    rows, codes = (np.asarray(table[name].to_pylist(), np.int64) for name in ("row", "codes"))
    classifier, thresholds = load_classifier(run.run_dir), hint_thresholds(run.run_dir)
    real = judge(classifier, np.asarray(run.images[rows]))
    made = judge(classifier, decode_all(load_tokenizer(run.run_dir), codes))
    labels = referenced(real.chances, thresholds)
    figures = agreement(labels, made.chances, thresholds, "")
    return {f"drawing: {name}": figures[name] for name in DRAWN if name in figures}


def text_losses(run: Run, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the loss [nats a character] of each text-only exchange that nobody trains on."""
    stage = None if name == START else f"{FOLDER}/{name}"
    tuned: LanguageModel = load_language_model(run.run_dir, stage)
    losses = retention.losses(tuned.model, tuned.prompts, read(retention.SHIPPED))
    return np.asarray(losses, np.float64)


def kept(
    start: np.ndarray[Any, np.dtype[np.float64]], now: np.ndarray[Any, np.dtype[np.float64]]
) -> dict[str, Figure]:
    """Return the loss on plain text and its ratio to the start's."""
    return {
        "text: nats a character": mean_figure(now),
        RATIO: bootstrap(len(now), lambda picks: float(now[picks].mean() / start[picks].mean())),
    }


def markdown(found: Mapping[str, Mapping[str, Figure]]) -> str:
    """Return the table: a line a measure, a column a model."""
    lines = [row(["", *found]), row(["---"] * (1 + len(found)))]
    lines += [
        row([measure, *(cell(one[measure]) for one in found.values())])
        for measure in next(iter(found.values()))
    ]
    return "\n".join(lines) + "\n"
