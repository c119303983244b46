"""Tasks put to a bundle: predictions first, then scores beside four answers that see no film.

Each task has its own score (`training.tasks.scorers`); an answer that cannot be read scores 0.
Intervals resample patients. Items are the val rows of the run's table of instructions, or those of
a file in CheXbench's published layout. What compares two films is not asked of a bundle that was
not taught to, and is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.pipeline import Engine
from engine.pixels import render_file
from engine.results import Image
from engine.tasks.api import beside, manner
from engine.tasks.registry import TASKS
from engine.tasks.values import Unparsable
from training import parquet
from training.evaluate.bootstrap import Figure
from training.evaluate.task_baselines import (
    MAJORITY,
    NEAREST,
    RANDOM,
    Neighbours,
    by_chance,
    by_majority,
    by_question,
)
from training.evaluate.vqa import rate
from training.progress import bar
from training.side_by_side import side_by_side
from training.stages import Run
from training.tasks import bench, scorers
from training.tasks.bench import BenchItem
from training.tasks.table import Example, Examples
from training.vqa.phrasings import digest

MODEL, BLIND = "model", "model, no film"
SYSTEMS = (MODEL, BLIND, RANDOM, MAJORITY, NEAREST)
WIDTH = 8
"""Items put to the engine at one time: it steps them together."""
Ask = Callable[[Example, Sequence[Image]], str]
FilmsOf = Callable[[BenchItem], Sequence[Image]]


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
    """The scores, and how many items of a task were not asked because they compare two films."""

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
    """Return ``limit`` items of a task at most (0: all), chosen by hash, a film's together.

    The engine keeps what it last saw: a film that is asked twice in a row is read once.
    """
    taken: Counter[tuple[str, str]] = Counter()
    kept = []
    for item in sorted(items, key=lambda i: digest(i.example.study_id, i.example.instruction)):
        taken[item.bench, item.example.task] += 1
        if not limit or taken[item.bench, item.example.task] <= limit:
            kept.append(item)
    return sorted(kept, key=lambda i: i.image_paths)


def asker(engine: Engine) -> Ask:
    """Return what puts a row to a bundle, with its films or without."""

    def ask(asked: Example, films: Sequence[Image]) -> str:
        task = TASKS[asked.task]
        image, other = (*films, None, None)[:2]
        reply = engine.follow(
            asked.instruction,
            image,
            text=asked.text,
            **manner(task, asked.options),
            **beside(task, other),
        )
        return reply.text

    return ask


def predict(items: Sequence[BenchItem], ask: Ask, films_of: FilmsOf) -> list[Scored]:
    """Put every item to a model, and again without its films."""

    def answer(item: BenchItem) -> list[Scored]:
        films = films_of(item)
        found = [scored(item, MODEL, ask(item.example, films))]
        return found + [scored(item, BLIND, ask(item.example, ())) for _ in films[:1]]

    found: list[Scored] = []
    with bar("items", len(items)) as progress:
        for answers in side_by_side(answer, items, WIDTH):
            found += answers
            progress.advance(progress.task_ids[0])
    return found


def answerable(
    items: Iterable[BenchItem], taught: frozenset[str]
) -> tuple[list[BenchItem], dict[str, int]]:
    """Return the items that a bundle can be asked, and how many of a kind it cannot."""
    kept, skipped = [], Counter[str]()
    for item in items:
        untaught = TASKS[item.example.task].compared and item.example.task not in taught
        if untaught or is_published_pair(item):
            skipped[item.bench or item.example.task] += 1
        else:
            kept.append(item)
    return kept, dict(skipped)


def is_published_pair(item: BenchItem) -> bool:
    """Tell whether an item is a choice about two films, as no task of ours is."""
    return item.bench == bench.CHOICES[1] and len(item.image_paths) > 1


def shown_paths(item: BenchItem) -> tuple[str, ...]:
    """Return the films that an item's task is about; a published one may name more."""
    return item.image_paths[: TASKS[item.example.task].num_films]


def baselines(items: Sequence[BenchItem], run: Run, examples: Examples) -> list[Scored]:
    """Return what the answers that cost nothing are worth on a run's own items."""
    train = [row for row in examples if row.split == "train"]
    taught = by_question(train)
    near = Neighbours(run, [i.image_paths[0] for i in items if i.image_paths], train)
    systems: Mapping[str, Callable[[Example], str]] = {
        RANDOM: lambda asked: by_chance(asked, taught),
        MAJORITY: lambda asked: by_majority(asked, taught),
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
        found = evaluate_own(run, engine, limit)
    else:
        found = evaluate_published(engine, published, images or published.parent, limit)
    output = output_of(run, published)
    parquet.store([one.record() for one in found.scored], output / "predictions.parquet")
    told = {"bundle": engine.digest, "skipped, two films": found.skipped}
    (output / "asked.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return found


def evaluate_own(run: Run, engine: Engine, limit: int) -> Found:
    """Ask a bundle the val rows of a run's own table, and score the baselines beside it."""
    examples = run.instruction_table()
    items, skipped = answerable(own_items(examples, limit), engine.taught)
    places = {film.image_id: row for row, film in enumerate(run.catalog.films)}

    def films_of(item: BenchItem) -> list[Image]:
        return [run.film(places[image]) for image in shown_paths(item)]

    found = predict(items, asker(engine), films_of)
    return Found([*found, *baselines(items, run, examples)], skipped)


def evaluate_published(engine: Engine, path: Path, root: Path, limit: int) -> Found:
    """Ask a bundle the items of a published file, its films below ``root``.

    Chance alone is known beside it.
    """
    items, skipped = answerable(chosen(bench.items(path), limit), engine.taught)

    def films_of(item: BenchItem) -> list[Image]:
        return [render_file(root / film, engine.transform) for film in shown_paths(item)]

    found = predict(items, asker(engine), films_of)
    drawn = [scored(i, RANDOM, by_chance(i.example, {})) for i in items if i.example.options]
    return Found([*found, *drawn], skipped)


def output_of(run: Run, published: Path | None) -> Path:
    """Return the folder of the figures: published items apart from our own."""
    return run.run_dir / "evaluate" / ("chexbench" if published else "tasks")
