"""What every reader of a published collection shares."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.tasks.registry import TASKS, Input
from engine.tasks.values import Box, Value
from engine.tasks.words import listed
from training.errors import TaskTableError
from training.tasks.table import Example, key_of
from training.vqa.phrasings import digest

VAL_SHARE = 10
"""Of so many patients one is val, where a collection has no such split of its own."""
Row = Mapping[str, str]


@dataclass(frozen=True)
class Item:
    """One question as a collection has it; ``split`` empty where it has none."""

    task: str
    patient_id: str
    study_id: str
    image_ids: tuple[str, ...]
    response: str
    value: Value | None
    given: Mapping[Input, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    finding: str = ""
    split: str = ""


@dataclass(frozen=True)
class Source:
    """A collection: its name, its licence as published, its tasks, and what reads a folder of it.

    Images are named by the stem of their file, as ``id`` in a manifest of the films must be.
    """

    title: str
    licence: str
    tasks: frozenset[str]
    read: Callable[[Path], Iterator[Item]]


def examples(source: Source, folder: Path, licence: str = "") -> Iterator[Example]:
    """Yield the rows of a collection that lies in a folder; test parts are never among them.

    Raises
    ------
    TaskTableError
        A file is missing or has other columns.
    """
    for item in source.read(folder):
        task, given = TASKS[item.task], dict(item.given)
        if item.options:
            given[Input.OPTIONS] = listed(item.options)
        yield Example(
            task=item.task,
            study_id=item.study_id,
            patient_id=item.patient_id,
            image_ids=item.image_ids,
            split=item.split or split_of(item.patient_id),
            finding=item.finding,
            instruction=task.put(given, digest(item.study_id, item.task, item.finding)),
            text=given[Input.TEXT] if task.has_text_block else "",
            options=item.options,
            response=item.response,
            answer_key="" if item.value is None else key_of(item.value),
            licence=licence or source.licence,
            source=source.title,
        )


def split_of(patient_id: str) -> str:
    """Return the split of a patient of a collection that has none: one in ten is val."""
    return "train" if digest(patient_id, "split") % VAL_SHARE else "val"


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV file, plain or gzipped, with blanks around names and values gone.

    Raises
    ------
    TaskTableError
        There is no such file, or it lacks a column.
    """
    compressed = path.with_name(path.name + ".gz")
    found = path if path.is_file() else compressed
    if not found.is_file():
        raise TaskTableError(f"no file at {path}", hint="name the folder as it was unpacked")
    opened = gzip.open if found.suffix == ".gz" else open
    with opened(found, "rt", encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        names = {name.strip() for name in reader.fieldnames or ()}
        missing = [name for name in columns if name not in names]
        if missing:
            raise TaskTableError(f"{found.name} has no column {', '.join(missing)}")
        for row in reader:
            yield {name.strip(): (value or "").strip() for name, value in row.items() if name}


def json_of(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    TaskTableError
        There is no such file, or it is no JSON.
    """
    if not path.is_file():
        raise TaskTableError(f"no file at {path}", hint="name the folder as it was unpacked")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as fault:
        raise TaskTableError(f"{path.name} is no JSON") from fault


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[str, ...], list[Row]]:
    """Return rows by the values of some columns, in order of appearance."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in columns), []).append(row)
    return found


def percent(corners: Sequence[float], width: float, height: float) -> Box:
    """Return left, top, right and bottom in pixels as a box in whole percent, cut at the edges.

    A side that vanishes by rounding is one percent long.
    """
    left, top, right, bottom = corners
    across = [round(100 * min(max(x / width, 0.0), 1.0)) for x in (left, right)]
    down = [round(100 * min(max(y / height, 0.0), 1.0)) for y in (top, bottom)]
    first, above = min(across[0], 99), min(down[0], 99)
    return Box(first, above, max(across[1], first + 1), max(down[1], above + 1))


def boxed(boxes: Iterable[Box], finding: str = "") -> tuple[str, tuple[Box, ...]]:
    """Return the response that gives boxes, and their value: left ones first, none if none."""
    ordered = tuple(sorted(boxes, key=lambda box: (box.left, box.top)))
    if not ordered:
        return f"No {finding} is seen.", ()
    return "; ".join(map(str, ordered)), ordered
