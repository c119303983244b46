"""Tasks put to a bundle: predictions first, then scores beside four answers that see no film.

Each task has its own score (`training.tasks.scorers`); an answer that cannot be read scores 0.
Intervals resample patients. Items are the val rows of the run's table of instructions, or those of
a file in CheXbench's published layout. What wants two films of a bundle that sees one is not asked,
and is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.pipeline import Engine
from engine.pixels import render_file
from engine.results import Image
from engine.tasks.api import MOST_TOKENS, SHORT_REPLY
from engine.tasks.registry import TASKS
from engine.tasks.values import Unparsable
from training.evaluate import task_baselines
from training.evaluate.bootstrap import Figure
from training.evaluate.task_baselines import MAJORITY, NEAREST, RANDOM, Neighbours, by_question
from training.evaluate.vqa import rate
from training.progress import bar
from training.stages import Run
from training.tasks import bench, scorers
from training.tasks.bench import BenchItem
from training.tasks.table import Example, Examples
from training.vqa.phrasings import digest

MODEL, BLIND = "model", "model, no film"
SYSTEMS = (MODEL, BLIND, RANDOM, MAJORITY, NEAREST)
Ask = Callable[[Example, Image | None], str]


@dataclass(frozen=True)
class Scored:
    """What one system replied to one item, and what that is worth."""

    kind: str
    bench: str
    asked: Example
    system: str
    reply: str
    is_parsed: bool
    score: float

    def record(self) -> dict[str, object]:
        """Return one flat row for the predictions' Parquet file."""
        own = {name: value for name, value in asdict(self).items() if name != "asked"}
        return asdict(self.asked) | own


@dataclass(frozen=True)
class Found:
    """The scores, and how many items of a task were not asked because they want two films."""

    scored: list[Scored]
    skipped: dict[str, int]


def scored(item: BenchItem, system: str, reply: str) -> Scored:
    """Score one reply; own items are named by our task, published ones by theirs."""
    asked = item.example
    kind = item.bench if asked.split == bench.TEST else asked.task
    parsed = not isinstance(scorers.reading(asked, reply), Unparsable)
    value = scorers.score(asked, reply)
    return Scored(kind, item.bench, asked, system, reply, parsed, value)


def own_items(examples: Examples, limit: int) -> list[BenchItem]:
    """Return the val rows of a table, of each task ``limit`` at most (0: all), chosen by hash."""
    rows = [row for row in examples if row.split == "val"]
    return chosen(
        [BenchItem(bench.OURS.get(row.task, ""), row, row.image_ids) for row in rows], limit
    )


def chosen(items: Iterable[BenchItem], limit: int) -> list[BenchItem]:
    """Return ``limit`` items of a task at most (0: all), chosen by hash."""
    taken: Counter[tuple[str, str]] = Counter()
    kept = []
    for item in sorted(items, key=lambda i: digest(i.example.study_id, i.example.instruction)):
        taken[item.bench, item.example.task] += 1
        if not limit or taken[item.bench, item.example.task] <= limit:
            kept.append(item)
    return kept


def asker(engine: Engine) -> Ask:
    """Return what puts a row to a bundle, with its film or without."""

    def ask(asked: Example, image: Image | None) -> str:
        longest = MOST_TOKENS.get(TASKS[asked.task].answer, SHORT_REPLY)
        reply = engine.follow(asked.instruction, image, text=asked.text, max_new_tokens=longest)
        return reply.text

    return ask


def predict(items: Sequence[BenchItem], ask: Ask, image_of: Callable[[BenchItem], Image]) -> Found:
    """Put every item to a model, and again without its film."""
    found: list[Scored] = []
    skipped: Counter[str] = Counter()
    with bar("items", len(items)) as progress:
        for item in items:
            progress.advance(progress.task_ids[0])
            if TASKS[item.example.task].num_films > 1 or is_pair(item):
                skipped[item.bench or item.example.task] += 1
                continue
            shown = bool(item.image_paths)
            reply = ask(item.example, image_of(item) if shown else None)
            found.append(scored(item, MODEL, reply))
            if shown:
                found.append(scored(item, BLIND, ask(item.example, None)))
    return Found(found, dict(skipped))


def is_pair(item: BenchItem) -> bool:
    """Tell whether a published choice compares two films."""
    return item.bench == bench.CHOICES[1] and len(item.image_paths) > 1


def baselines(items: Sequence[BenchItem], run: Run, examples: Examples) -> list[Scored]:
    """Return what the answers that cost nothing are worth on a run's own items."""
    train = [row for row in examples if row.split == "train"]
    taught = by_question(train)
    near = Neighbours(run, [i.image_paths[0] for i in items if i.image_paths], train)
    systems: Mapping[str, Callable[[Example], str]] = {
        RANDOM: lambda asked: task_baselines.by_chance(asked, taught),
        MAJORITY: lambda asked: task_baselines.by_majority(asked, taught),
        NEAREST: lambda asked: near.answer(asked, taught),
    }
    return [
        scored(item, name, answer(item.example))
        for name, answer in systems.items()
        for item in items
        if name != NEAREST or item.image_paths
    ]


def figures(found: Iterable[Scored]) -> dict[tuple[str, str], Figure]:
    """Return the mean score of every task and system, and how often the model could be read."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for one in found:
        groups.setdefault((one.kind, one.system), []).append(one)
    values = {group: mean(rows, [one.score for one in rows]) for group, rows in groups.items()}
    for (kind, system), rows in groups.items():
        if system == MODEL:
            values[kind, "parsed"] = mean(rows, [float(one.is_parsed) for one in rows])
    return values


def mean(rows: Sequence[Scored], values: Sequence[float]) -> Figure:
    """Return the mean of values over items, its interval over patients."""
    return rate(np.asarray(values), [one.asked.patient_id for one in rows])


def evaluate_tasks(
    run: Run, bundle_dir: Path | None, limit: int, published: Path | None, images: Path | None
) -> Found:
    """Ask a bundle; write ``predictions.parquet`` and return what was found.

    Raises
    ------
    TaskTableError, CatalogError, BundleError, PixelError
        There are no items, the bundle is refused, or a film cannot be read.
    """
    engine = Engine.load(bundle_dir)
    if published is None:
        examples = run.instruction_table()
        items = own_items(examples, limit)
        places = {film.image_id: row for row, film in enumerate(run.catalog.films)}
        found = predict(items, asker(engine), lambda i: run.film(places[i.image_paths[0]]))
        asked = [i for i in items if TASKS[i.example.task].num_films < 2]
        found.scored.extend(baselines(asked, run, examples))
    else:
        items, root = chosen(bench.items(published), limit), images or published.parent
        found = predict(
            items,
            asker(engine),
            lambda i: render_file(root / i.image_paths[0], engine.transform),
        )
        found.scored.extend(
            scored(i, RANDOM, task_baselines.by_chance(i.example, {}))
            for i in items
            if i.example.options and not is_pair(i)
        )
    output = output_of(run, published)
    output.mkdir(parents=True, exist_ok=True)
    records = [one.record() for one in found.scored]
    pq.write_table(pa.Table.from_pylist(records), output / "predictions.parquet")
    told = {"bundle": engine.digest, "skipped, two films": found.skipped}
    (output / "asked.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return found


def output_of(run: Run, published: Path | None) -> Path:
    """Return the folder of the figures: published items apart from our own."""
    return run.run_dir / "evaluate" / ("chexbench" if published else "tasks")
