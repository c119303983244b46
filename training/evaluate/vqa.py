"""Questions answered: accuracy by kind, topic and finding, against majority answers.

A prediction is read by the tables that made the questions (`training.vqa.answers`); one that cannot
be read is wrong. Two baselines never look at the film: the commonest train answer of the question's
topic (which side, which region, yes or no, …), and that of topic and finding. Presence questions
are balanced by the table, so there the first is chance. Intervals resample patients.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.pipeline import Engine
from engine.results import Image
from training import parquet
from training.evaluate.bootstrap import Figure, bootstrap
from training.progress import bar
from training.stages import Run
from training.vqa import answers, table
from training.vqa.phrasings import digest
from training.vqa.table import Question

Majority = Mapping[tuple[str, ...], str]
SYSTEMS = ("model", "majority by topic", "majority by finding")


@dataclass(frozen=True)
class Predicted:
    """A question with what the model said and what the two baselines would say.

    ``parsed`` is the canonical answer read from ``prediction``, empty when it cannot be read.
    """

    asked: Question
    prediction: str
    parsed: str
    by_topic: str
    by_finding: str

    @property
    def topic(self) -> str:
        """What the question is about."""
        return topic(self.asked)

    def correct(self, system: str) -> bool:
        """Tell whether one of `SYSTEMS` has the canonical answer."""
        said = dict(zip(SYSTEMS, (self.parsed, self.by_topic, self.by_finding), strict=True))
        return said[system] == self.asked.answer_key

    def record(self) -> dict[str, str | bool]:
        """Return one flat row for the predictions' Parquet file."""
        own = {k: v for k, v in asdict(self).items() if k != "asked"}
        return asdict(self.asked) | own | {"correct": self.correct("model")}


def topic(asked: Question) -> str:
    """Return the topic of a question: side and region are two, though both are locations."""
    return answers.topic_of(asked.kind, asked.answer_key)


def commonest(keys: Iterable[str]) -> str:
    """Return the most frequent key; among equals the first by alphabet."""
    counts = Counter(keys)
    return min(counts, key=lambda key: (-counts[key], key)) if counts else ""


def majorities(rows: Iterable[Question]) -> Majority:
    """Return the commonest answer of each topic and of each topic and finding."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        for group in ((topic(row),), (topic(row), row.finding)):
            found.setdefault(group, []).append(row.answer_key)
    return {group: commonest(keys) for group, keys in found.items()}


def judge(asked: Question, prediction: str, majority: Majority) -> Predicted:
    """Read a prediction and set the baselines' answers beside it."""
    by_topic = majority.get((topic(asked),), "")
    return Predicted(
        asked=asked,
        prediction=prediction,
        parsed=answers.parse(asked.kind, asked.answer_key, prediction),
        by_topic=by_topic,
        by_finding=majority.get((topic(asked), asked.finding), by_topic),
    )


def rate(values: NDArray[np.float64], patients: Sequence[str]) -> Figure:
    """Return the mean of values over questions; its interval resamples patients."""
    owners, group = np.unique(patients, return_inverse=True)
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)

    def mean(cases: NDArray[np.int64]) -> float:
        """Mean over the questions of the drawn patients."""
        return float(sums[cases].sum() / sizes[cases].sum())

    return bootstrap(len(owners), mean)


def groups(predicted: Sequence[Predicted]) -> dict[str, list[Predicted]]:
    """Return predictions by kind, by topic where a kind has several, and presence by finding."""
    found: dict[str, list[Predicted]] = {}
    for one in predicted:
        names = [one.asked.kind]
        if one.topic != one.asked.kind:
            names.append(f"{one.asked.kind} ({one.topic})")
        if one.asked.kind == "presence":
            names.append(f"presence: {one.asked.finding}")
        for name in names:
            found.setdefault(name, []).append(one)
    return dict(sorted(found.items()))


def figures(predicted: Sequence[Predicted]) -> dict[str, Figure]:
    """Return accuracy of model and baselines, and the model's gain, for every group."""
    found = {}
    for name, members in groups(predicted).items():
        patients = [one.asked.patient_id for one in members]
        hits = {
            system: np.asarray([one.correct(system) for one in members], dtype=np.float64)
            for system in SYSTEMS
        }
        for system, values in hits.items():
            found[f"{name}, {system}"] = rate(values, patients)
        gain = hits["model"] - hits["majority by finding"]
        found[f"{name}, gain over majority by finding"] = rate(gain, patients)
    return found


def chosen(rows: Iterable[Question], limit: int) -> list[Question]:
    """Return the scorable questions, of each topic ``limit`` at most (0: all), chosen by hash."""
    scorable = [row for row in rows if row.answer_key]
    ordered = sorted(scorable, key=lambda row: digest(row.study_id, row.question))
    taken: Counter[str] = Counter()
    kept = []
    for row in ordered:
        taken[topic(row)] += 1
        if not limit or taken[topic(row)] <= limit:
            kept.append(row)
    return kept


def ask_all(
    rows: Sequence[Question],
    image_of: Callable[[str], Image],
    ask: Callable[[Image, str], str],
    majority: Majority,
) -> list[Predicted]:
    """Put every question to a model."""
    found = []
    with bar("questions", len(rows)) as progress:
        for row in rows:
            prediction = ask(image_of(row.image_id), row.question)
            found.append(judge(row, prediction, majority))
            progress.advance(progress.task_ids[0])
    return found


def images_of(run: Run) -> Callable[[str], Image]:
    """Return a function from image id to the film, float32 [1, 256, 256] in [-1, 1]."""
    places = {film.image_id: row for row, film in enumerate(run.catalog.films)}
    return lambda image_id: run.film(places[image_id])


def evaluate_vqa(run: Run, bundle_dir: Path | None, limit: int) -> dict[str, Figure]:
    """Ask a bundle the val questions of the run's table; write predictions, then figures.

    Raises
    ------
    VqaError, CatalogError, BundleError
        The run has no table or no films, or the bundle is refused.
    """
    rows = table.read(run.run_dir / "vqa.parquet")
    majority = majorities(row for row in rows if row.split == "train" and row.answer_key)
    asked = chosen((row for row in rows if row.split == "val"), limit)
    engine = Engine.load(bundle_dir)
    predicted = ask_all(
        asked, images_of(run), lambda image, text: engine.ask(image, text).text, majority
    )
    output = run.run_dir / "evaluate" / "vqa"
    output.mkdir(parents=True, exist_ok=True)
    parquet.store([one.record() for one in predicted], output / "predictions.parquet")
    return write_figures(predicted, output, engine.digest)


def write_figures(
    predicted: Sequence[Predicted], output: Path, bundle_digest: str
) -> dict[str, Figure]:
    """Write ``metrics.json`` beside the predictions and return its figures."""
    found = figures(predicted)
    stored = {
        "dataset": "val questions of vqa.parquet; unparsable answers are wrong",
        "bundle": bundle_digest,
        "num_questions": {name: len(members) for name, members in groups(predicted).items()},
    } | {name: asdict(figure) for name, figure in found.items()}
    (output / "metrics.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return found
