"""Preference tuning: seconds a pair, this project's loop beside TRL's DPO trainer.

Both take the same pairs of token ids, a prompt with a film and two reports, on the demo bundle's
model with random weights. The loop computes a prompt once for its two answers; the trainer
computes it twice, by default with the reference model beside it at every step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models
from trl import DPOConfig, DPOTrainer

from benchmarks.training import OURS, Figures
from benchmarks.training_model import SEED, SIZES, Size, random_row
from benchmarks.training_peers import Stopwatch, no_words, timed
from engine.vocabulary import Vocabulary
from training import device
from training.align.branches import Branch, Role, Tree
from training.align.train import AlignLoop
from training.base import BaseModel
from training.config import changed
from training.instructions import IGNORED, Row
from training.parallel import World

BATCH = 8


def pairs(size: Size, count: int) -> list[Tree]:
    """Return prompts with a film and two reports each, all ids drawn at random."""
    vocabulary, rng = Vocabulary(size.num_text, 0, 1, 2), np.random.default_rng(SEED)
    found = []
    for _ in range(count):
        chosen, rejected = (random_row(vocabulary, rng) for _ in range(2))
        prompt = chosen.input_ids[: len(chosen) - len(response(chosen))]
        branches = [
            Branch(response(chosen), Role.CHOSEN),
            Branch(response(rejected), Role.REJECTED),
        ]
        found.append(Tree(prompt, branches))
    return found


def response(row: Row) -> list[int]:
    """Return the ids of a row's answer."""
    return [label for label in row.labels if label != IGNORED]


def ours(size: Size, trees: list[Tree], count: int) -> float:
    """Take steps as `cxr-train align` does; the reference has been asked before."""
    settings = {"batch_size": BATCH, "watch": 0, "epochs": 1.0}
    recipe = changed(size.load_recipe(), align=settings)
    vocabulary = Vocabulary(size.num_text, 0, 1, 2)
    base = BaseModel(size.model(device.best()), Tokenizer(models.BPE()), vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        fit = AlignLoop(recipe, base, trees, World(), Path(folder), None)
        return timed(fit.step, 0, count)


class AsGiven(DPOTrainer):
    """The trainer on pairs that are token ids already: it would spell and split texts."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


@dataclass(frozen=True)
class Trl:
    """TRL's trainer with its own defaults, but for ``changes`` and the pairs of a step."""

    changes: dict[str, Any]

    def __call__(self, size: Size, trees: list[Tree], count: int) -> float:
        """Take steps under the trainer's own loop."""
        columns = {
            "prompt_ids": [tree.prompt for tree in trees],
            "chosen_ids": [tree.branches[0].ids for tree in trees],
            "rejected_ids": [tree.branches[1].ids for tree in trees],
        }
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            trainer = AsGiven(
                model=size.model(device.best()),
                ref_model=size.model(device.best()),
                args=DPOConfig(
                    output_dir=folder,
                    per_device_train_batch_size=BATCH,
                    max_steps=1 + count,
                    max_length=None,
                    use_cpu=device.best().type == "cpu",
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    **self.changes,
                ),
                train_dataset=datasets.Dataset.from_dict(columns),
                processing_class=no_words(),
                callbacks=[watch],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
        return watch.ends[-1] - watch.ends[0]


CONTENDERS: dict[str, Callable[[Size, list[Tree], int], float]] = {
    OURS: ours,
    "TRL, its defaults": Trl({}),
    "TRL, activations kept, reference asked before": Trl(
        {"activation_checkpointing": False, "precompute_ref_log_probs": True}
    ),
}


def measure(size: Size, rounds: int, steps: int, figures: Figures) -> Table:
    """Measure pairs a second of every contender, interleaved."""
    for _ in range(rounds):
        for name, tune in CONTENDERS.items():

            def rate(tune: Callable[[Size, list[Tree], int], float] = tune) -> float:
                return steps * BATCH / tune(size, pairs(size, (1 + steps) * BATCH), steps)

            figures.take(name, rate)
    table = Table("trainer", "pairs/s", f"{OURS} against it")
    for name in CONTENDERS:
        table.add_row(name, figures.spread(name, 2), figures.ratio(OURS, name))
    return table


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="steps that count in a round")
    parser.add_argument("--tries", type=int, default=2, help="repeats until one is undisturbed")
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    figures = Figures(options.tries)
    console = Console(width=120)
    console.print(measure(SIZES[options.size], options.rounds, options.steps, figures))
    console.print(f"repeats that were disturbed to the last: {figures.num_disturbed}")


if __name__ == "__main__":
    main()
