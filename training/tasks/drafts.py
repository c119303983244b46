"""What a builder yields, and how it becomes a row of the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.tasks.registry import TASKS, Input
from engine.tasks.values import Value
from engine.tasks.words import listed
from training.catalog import Film
from training.tasks.studies import Shelf, Study
from training.tasks.table import Example, key_of
from training.vqa.phrasings import digest

REPORT, LABELS, MESH, HEADER = "report", "labels", "mesh", "header"
"""Where an answer comes from: the report's text, published labels, human codes, the file itself."""


@dataclass(frozen=True)
class Draft:
    """One question with its answer; ``value`` is None where the response itself is scored."""

    films: tuple[Film, ...]
    response: str
    value: Value | None
    source: str
    given: Mapping[Input, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    finding: str = ""


LONE_STOP = re.compile(r"(?<=[.\s])\s*\.(?=\s|$)")
Builder = Callable[[Study, Shelf], Iterator[Draft]]


def shuffled(options: Sequence[str], *salt: str) -> tuple[str, ...]:
    """Return options in an order that the salt fixes."""
    return tuple(sorted(options, key=lambda text: digest(*salt, text)))


def statement(text: str) -> str:
    """Return a text with a capital letter and a full stop."""
    stripped = text.strip().rstrip(".")
    return f"{stripped[:1].upper()}{stripped[1:]}."


def tidy(text: str) -> str:
    """Return a text without the full stops that cleaning leaves on their own."""
    return LONE_STOP.sub("", text).strip()


def example(task_name: str, study: Study, draft: Draft) -> Example:
    """Return a draft as a row: put by a phrasing that the study fixes."""
    task, film = TASKS[task_name], study.film
    given = dict(draft.given)
    if draft.options:
        given[Input.OPTIONS] = listed(draft.options)
    phrasing = digest(film.study_id, task_name, draft.finding)
    return Example(
        task=task_name,
        study_id=film.study_id,
        patient_id=film.patient_id,
        image_ids=tuple(one.image_id for one in draft.films),
        split=film.split,
        finding=draft.finding,
        instruction=task.put(given, phrasing),
        text=given[Input.TEXT] if task.has_text_block else "",
        options=draft.options,
        response=draft.response,
        answer_key="" if draft.value is None else key_of(draft.value),
        licence=film.license,
        source=draft.source,
    )
