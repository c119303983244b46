"""CheXbench's ``data.json``: read as published, and which of our tasks its tasks are.

The file is an object: task name -> list of items. Choices have ``question``, ``option_0`` …
``option_3`` (null where there are fewer), ``answer`` (index), ``image_path``, ``data_source`` and
``slice``; grounding has ``question`` and ``answer`` with ``<|box|>(x,y),(x,y)<|/box|>`` in percent;
generation ``section_indication`` and ``section_findings``; summarisation ``section_findings`` and
``section_impression`` (arXiv 2401.12208, section 3). The items themselves are not redistributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.tasks.answers import BOX
from engine.tasks.registry import TASKS, Input
from engine.tasks.values import Box
from engine.tasks.words import listed
from training.errors import TaskTableError
from training.tasks.sources.base import json_of
from training.tasks.table import Example, key_of

PUBLISHED = "CheXbench"
TEST = "test"
CHOICES = (
    "View Classification",
    "Temporal Classification",
    "Binary Disease Classification",
    "Single Disease Identification",
    "Multiple Disease Identification",
    "Fine-Grained Reasoning",
    "Visual Question Answering",
)
GROUNDING, GENERATION, SUMMARY = "Phrase Grounding", "Findings Generation", "Findings Summarization"
OURS: Mapping[str, str] = {
    "view": CHOICES[0],
    "progression": CHOICES[1],
    "binary-disease": CHOICES[2],
    "single-disease": CHOICES[3],
    "disease-set": CHOICES[4],
    "multi-disease": CHOICES[4],
    "fine-grained": CHOICES[5],
    "vqa-yes-no": CHOICES[6],
    "phrase-grounding": GROUNDING,
    "findings": GENERATION,
    "findings-with-indication": GENERATION,
    "impression-from-findings": SUMMARY,
}
"""The published task that each of ours is of the kind of."""


@dataclass(frozen=True)
class BenchItem:
    """One item: what is asked, of which published task, on which files."""

    bench: str
    example: Example
    image_paths: tuple[str, ...]


def paths_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an item's films: one path or a list of them."""
    found = row.get("image_path") or ()
    return (found,) if isinstance(found, str) else tuple(found)


def asked(row: Mapping[str, Any], number: int, task: str, **changes: Any) -> Example:
    """Return an item as a row; its study is its first film, or its number where it has none."""
    films = paths_of(row)
    study = films[0] if films else f"{task} {number}"
    values: dict[str, Any] = {
        "task": task, "study_id": study, "patient_id": patient_of(study), "image_ids": films,
        "split": TEST, "finding": str(row.get("slice") or ""), "text": "", "options": (),
        "answer_key": "", "licence": "as published",
        "source": str(row.get("data_source") or PUBLISHED),
    }  # fmt: skip
    return Example(**{**values, **changes})


def patient_of(path: str) -> str:
    """Return the patient of a film's path as MIMIC and CheXpert name it, else the path."""
    parts = [part for part in Path(path).parts if part.startswith(("patient", "p"))]
    known = [part for part in parts if part.removeprefix("patient").removeprefix("p").isdigit()]
    return known[-1] if known else path


def choice(row: Mapping[str, Any], number: int) -> Example:
    """Read a question with options."""
    options = tuple(o for o in (row[f"option_{n}"] for n in range(4)) if isinstance(o, str))
    where = int(row["answer"])
    text = f"{row['question']} Options: {listed(options)}"
    return asked(
        row, number, "single-disease", instruction=text, options=options,
        response=options[where], answer_key=key_of(where),
    )  # fmt: skip


def grounding(row: Mapping[str, Any], number: int) -> Example:
    """Read a phrase with its boxes."""
    boxes = tuple(Box(*map(float, each)) for each in BOX.findall(str(row["answer"])))
    if not boxes:
        raise ValueError("an answer without a box")
    return asked(
        row, number, "phrase-grounding", instruction=row["question"],
        response="; ".join(map(str, boxes)), answer_key=key_of(boxes),
    )  # fmt: skip


def generation(row: Mapping[str, Any], number: int) -> Example:
    """Read a film whose findings are to be written."""
    indication = str(row.get("section_indication") or "").strip()
    task = TASKS["findings-with-indication" if indication else "findings"]
    text = task.put({Input.INDICATION: indication} if indication else {})
    return asked(row, number, task.name, instruction=text, response=row["section_findings"])


def summary(row: Mapping[str, Any], number: int) -> Example:
    """Read findings that are to be summarised; no film is shown."""
    task = TASKS["impression-from-findings"]
    findings = row["section_findings"]
    text = task.put({Input.TEXT: findings})
    return asked(
        {}, number, task.name, instruction=text, text=findings, response=row["section_impression"]
    )


READERS: Mapping[str, Callable[[Mapping[str, Any], int], Example]] = {
    **dict.fromkeys(CHOICES, choice),
    GROUNDING: grounding,
    GENERATION: generation,
    SUMMARY: summary,
}


def items(path: Path) -> Iterator[BenchItem]:
    """Yield the items of a file in the published layout.

    Raises
    ------
    TaskTableError
        There is no such file, it has another layout, or an item lacks a key or its option.
    """
    found = json_of(path)
    if not isinstance(found, dict) or not found.keys() & READERS.keys():
        raise TaskTableError(
            f"{path.name} is not laid out as CheXbench", hint=f"it names {', '.join(READERS)}"
        )
    for bench, reader in READERS.items():
        for number, row in enumerate(found.get(bench, ())):
            try:
                example = reader(row, number)
            except (KeyError, IndexError, TypeError, ValueError) as fault:
                raise TaskTableError(f"{path.name}: {bench} {number} is no item") from fault
            films = () if bench == SUMMARY else paths_of(row)
            yield BenchItem(bench, example, films)
