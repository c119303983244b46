"""Training steps against those that one would write or take instead, on the same rows and films.

`python -m benchmarks.training [--rounds 3] [--device cuda --size 1b]`

Instruction tuning against TRL's `SFTTrainer`, in tokens/s and in the share of the machine's own
matrix multiplication that does useful work (model-FLOPs utilisation); the tokenizer against a plain
loop, in films/s. Rounds go one contender after the other, each with rows of its own round; one
counts if other processes stayed below a twentieth of a core meanwhile. Padding is no token.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import datasets
import torch
import transformers
from rich.console import Console
from rich.table import Table

from benchmarks import training_peers as peers
from benchmarks.quiet import quietly
from benchmarks.training_model import SIZES, Language, Size, matmul_flop_per_s, useful_flop

OURS = "cxr"
DTYPES = {"bf16": torch.bfloat16, "no": torch.float32}


@dataclass
class Figures:
    """What was measured of everybody, round by round."""

    tries: int
    values: dict[str, list[float]] = field(default_factory=dict)
    num_disturbed: int = 0

    def take(self, name: str, measure: Callable[[], float]) -> None:
        """Note one quiet repeat of a measurement."""
        peers.let_go()
        value, was_quiet = quietly(measure, [], self.tries)
        self.num_disturbed += not was_quiet
        self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Return the median of a measurement."""
        return statistics.median(self.values[name])

    def spread(self, name: str, digits: int = 0) -> str:
        """Return median, least and greatest as text."""
        least, most = min(self.values[name]), max(self.values[name])
        return f"{self.median(name):,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"

    def ratio(self, name: str, other: str) -> str:
        """Return how many times one is the other: of the medians, and within each round."""
        pairs = zip(self.values[name], self.values[other], strict=True)
        each = [one / another for one, another in pairs]
        whole = self.median(name) / self.median(other)
        return f"{whole:.2f}x ({min(each):.2f} to {max(each):.2f})"


def trainers(language: Language) -> dict[str, Callable[[Language, int, int], float]]:
    """Return who tunes: without recomputed activations TRL, too, where the recipe does without."""
    found: dict[str, Callable[[Language, int, int], float]] = {
        OURS: peers.sft,
        "TRL, its defaults": peers.Trl({}),
    }
    if not language.recipe.sft.activation_checkpointing:
        found["TRL, activations kept"] = peers.Trl({"activation_checkpointing": False})
    return found


def tune(size: Size, rounds: int, steps: int, figures: Figures) -> Table:
    """Measure instruction tuning."""
    language = Language.make(size, rounds * (1 + steps))
    dtype = DTYPES[language.recipe.precision]
    model, contenders = size.model(torch.device("meta")), trainers(language)
    num_weights = model.num_parameters()
    num_flop = []
    for number in range(rounds):
        first = number * (1 + steps)
        rows = language.of_steps(first + 1, steps)
        num_flop.append(useful_flop(model, rows) / sum(map(len, rows)))
        figures.take("matmul", lambda: matmul_flop_per_s(dtype))
        for name, train in contenders.items():

            def rate(train: Callable[..., float] = train, first: int = first) -> float:
                return num_tokens(language, first, steps) / train(language, first, steps)

            figures.take(name, rate)
    flop, top = statistics.median(num_flop), figures.median("matmul")
    title = f"{OURS} sft, {num_weights / 1e6:,.0f} M weights, {language.recipe.precision}"
    table = Table(title=f"{title}; matmul {top / 1e9:,.0f} GFLOP/s")
    for column in ("trainer", "tokens/s", "MFU", f"{OURS} against it"):
        table.add_column(column, justify="left" if column == "trainer" else "right")
    for name in contenders:
        share = f"{100 * figures.median(name) * flop / top:.1f} %"
        table.add_row(name, figures.spread(name), share, figures.ratio(OURS, name))
    return table


def num_tokens(language: Language, first: int, steps: int) -> int:
    """Return the tokens of the steps that count in a round that begins at ``first``."""
    return sum(map(len, language.of_steps(first + 1, steps)))


def draw(size: Size, rounds: int, steps: int, figures: Figures) -> Table:
    """Measure the tokenizer."""
    recipe = size.load_recipe()
    loops: Mapping[str, Callable[..., float]] = {
        f"{OURS} tokenizer": peers.tokenizer,
        "plain loop, float32": peers.plain_tokenizer,
    }
    num_films = steps * recipe.tokenizer.batch_size
    for number in range(rounds):
        for name, train in loops.items():

            def rate(train: Callable[..., float] = train, number: int = number) -> float:
                return num_films / train(recipe, number * (1 + steps), steps)

            figures.take(name, rate)
    table = Table(title=f"{OURS} tokenizer with discriminator, {recipe.precision}")
    for column in ("loop", "films/s", f"{OURS} against it"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    for name in loops:
        against = figures.ratio(f"{OURS} tokenizer", name)
        table.add_row(name, figures.spread(name, 2), against)
    return table


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=sorted(SIZES), default="demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="steps that count in a round")
    parser.add_argument("--tries", type=int, default=2, help="repeats until one is undisturbed")
    options = parser.parse_args()
    if options.device == "cpu":
        # loops take a GPU where they see one
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        parser.error("torch sees no GPU here")
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    console, size = Console(width=120), SIZES[options.size]
    figures = Figures(options.tries)
    for measure in (tune, draw):
        with console.status(measure.__doc__ or ""):
            table = measure(size, options.rounds, options.steps, figures)
        console.print(table)
    console.print(f"repeats that were disturbed to the last: {figures.num_disturbed}")


if __name__ == "__main__":
    main()
