"""Scores of tasks as ``metrics.json``, a Markdown table, a table of fairness, and a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.tasks.answers import Answer
from engine.tasks.registry import TASKS, Scorer
from training.catalog import Film
from training.evaluate import plots
from training.evaluate.bootstrap import Figure
from training.evaluate.figure_table import METRICS
from training.evaluate.report_metrics import Pair, measure
from training.evaluate.report_tables import cell, row
from training.evaluate.reports import MICRO_F1
from training.evaluate.subgroups import subgroups
from training.evaluate.tasks import MODEL, SYSTEMS, Found, Scored, figures, mean

FOUND_IOU = 0.5
BOXES_FOUND = f"boxes found (IoU at least {FOUND_IOU})"
Figures = Mapping[tuple[str, str], Figure]
Fairness = Mapping[str, Mapping[str, Figure]]


def score_name(kind: str, found: Sequence[Scored]) -> str:
    """Return how a task is scored."""
    asked = next(one.asked for one in found if one.kind == kind)
    return "ROUGE-L" if not asked.answer_key else TASKS[asked.task].scorer.value


def score_table(values: Figures, found: Sequence[Scored]) -> Iterator[str]:
    """Yield the lines of the table: a line a task, a column a system."""
    kinds = list(dict.fromkeys(one.kind for one in found))
    yield row(["task", "CheXbench", "score", "n", *SYSTEMS, "read"])
    yield row(["---"] * (5 + len(SYSTEMS)))
    for kind in sorted(kinds, key=lambda name: list(TASKS).index(name) if name in TASKS else 99):
        members = [one for one in found if one.kind == kind and one.system == MODEL]
        cells = [cell(values[kind, s]) if (kind, s) in values else "" for s in SYSTEMS]
        read = values[kind, "parsed"]
        what = [kind, members[0].bench, score_name(kind, found), str(len(members))]
        yield row([*what, *cells, f"{read.value:.2f}"])


def fairness(found: Sequence[Scored], films: Mapping[str, Film]) -> dict[str, dict[str, Figure]]:
    """Return the model's mean score by family of tasks for parts of val (view, sex, age, …)."""
    asked = [one for one in found if one.system == MODEL and one.asked.image_ids]
    ours = [one for one in asked if one.asked.image_ids[0] in films]
    groups = subgroups([films[one.asked.image_ids[0]] for one in ours])
    values: dict[str, dict[str, Figure]] = {}
    for name, places in groups.items():
        families: dict[str, list[Scored]] = {}
        for place in places:
            families.setdefault(TASKS[ours[place].asked.task].family, []).append(ours[place])
        values[name] = {
            family: mean(rows, [one.score for one in rows]) for family, rows in families.items()
        }
    return values


def fairness_table(values: Fairness) -> Iterator[str]:
    """Yield the lines of the table of fairness: a line a group, a column a family."""
    families = list(dict.fromkeys(name for found in values.values() for name in found))
    yield row(["group", *families])
    yield row(["---"] * (1 + len(families)))
    for group, found in values.items():
        cells = [
            f"{cell(found[one])}, n {found[one].count}" if one in found else "" for one in families
        ]
        yield row([group, *cells])


def label_figures(found: Sequence[Scored]) -> dict[str, Figure]:
    """Return the labels' micro-F1 of what the model wrote, for every task that writes findings."""
    pairs: dict[str, list[Pair]] = {}
    for one in found:
        if one.system == MODEL and TASKS[one.asked.task].answer is Answer.SECTION_TEXT:
            pair = Pair(one.asked.patient_id, one.reply, one.asked.response)
            pairs.setdefault(one.kind, []).append(pair)
    return {kind: measure(group).overall[MICRO_F1] for kind, group in pairs.items()}


def boxes_found(found: Sequence[Scored]) -> dict[str, Figure]:
    """Return the share of items whose boxes are found, for every task that asks for boxes.

    Without confidences a ranking, and so an average precision over recalls, does not exist: this
    is precision at the one point there is.
    """
    asked: dict[str, list[Scored]] = {}
    for one in found:
        if one.system == MODEL and TASKS[one.asked.task].scorer is Scorer.IOU:
            asked.setdefault(one.kind, []).append(one)
    return {
        kind: mean(rows, [float(one.score >= FOUND_IOU) for one in rows])
        for kind, rows in asked.items()
    }


def store(found: Found, films: Mapping[str, Film], output: Path) -> str:
    """Write figures, tables and plot to a folder; return the table."""
    values, fair = figures(found.scored), fairness(found.scored, films)
    lines = [*score_table(values, found.scored), ""]
    lines += [f"* not asked, two films: {count} {name}" for name, count in found.skipped.items()]
    more = {
        **{(kind, MICRO_F1): figure for kind, figure in label_figures(found.scored).items()},
        **{(kind, BOXES_FOUND): figure for kind, figure in boxes_found(found.scored).items()},
    }
    lines += [f"* {kind}: {what} {cell(figure)}" for (kind, what), figure in more.items()]
    if fair:
        lines += ["", "### The model by part of val", "", *fairness_table(fair)]
    text = "\n".join(lines) + "\n"
    (output / "tables.md").write_text(text, encoding="utf-8")
    told = json.loads((output / "asked.json").read_text(encoding="utf-8"))
    stored: dict[str, Any] = {
        "dataset": "val rows of instructions.parquet" if films else "as published",
        **told,
        **{f"{kind}, {system}": asdict(figure) for (kind, system), figure in values.items()},
        **{f"{kind}, {MODEL}, {what}": asdict(figure) for (kind, what), figure in more.items()},
        "subgroups": {
            group: {family: asdict(figure) for family, figure in parts.items()}
            for group, parts in fair.items()
        },
    }
    (output / METRICS).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    shown = {kind: figure for (kind, system), figure in values.items() if system == MODEL}
    plots.intervals(shown, "score of the model", output / "tasks.png")
    return text
