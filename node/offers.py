"""The tasks that the page of a study offers at one click, and what each is asked with. Pure.

A task is a question whose reply is read as a value (`engine.tasks`). It takes its place among the
questions: the same queue, the same attempts, the same trail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import TaskError
from engine.tasks.api import prepared
from engine.tasks.cli import in_words
from engine.tasks.registry import Input, task_named
from engine.tasks.words import NOUNS, finding_named, noun
from node.questions import MAX_CHARACTERS, QuestionRefused

FINDING_NAMES: Final = tuple(NOUNS)
_MAX_TEXT = 1200
_NO_TEXT_HINT = "write findings, one sentence a line"


@dataclass(frozen=True)
class Offer:
    """A button: which task it asks, and the line by which the question is known.

    ``sections`` are the fields of the page whose text it takes, as they stand there.
    """

    task: str
    button: str
    line: str
    takes_finding: bool = False
    sections: tuple[str, ...] = ()


OFFERS: Final[Mapping[str, Offer]] = {
    one.task: one
    for one in (
        Offer("view", "View", "Which view is this?"),
        Offer("disease-list", "Findings list", "Which findings does the film show?"),
        Offer("binary-disease", "Present?", "Does the film show {finding}?", takes_finding=True),
        Offer("localise", "Where?", "Where does the film show {finding}?", takes_finding=True),
        Offer("severity", "How severe?", "How severe is the {finding}?", takes_finding=True),
        Offer(
            "impression-from-findings",
            "Impression from these findings",
            "What is the impression of these findings? {text}",
            sections=("findings",),
        ),
        Offer(
            "image-text-matching",
            "Does this text fit the film?",
            "Does this text fit the film? {text}",
            sections=("findings", "impression"),
        ),
    )
}


@dataclass(frozen=True)
class AskedTask:
    """A task that somebody asks, and the line by which it is known."""

    name: str
    given: Mapping[str, str]
    line: str

    def as_json(self) -> dict[str, Any]:
        """Return what the ledger keeps beside the line."""
        return {"name": self.name, "given": dict(self.given)}


def inputs_of(given: Mapping[str, str]) -> dict[Input, str]:
    """Return what a task is given, by the registry's names."""
    return {Input(name): text for name, text in given.items()}


def read_task(form: Mapping[str, Sequence[str]]) -> AskedTask:
    """Return the task that a form asks.

    Raises
    ------
    QuestionRefused
        No such task is offered, or what it needs is missing or too long.
    """
    name = _first(form, "task")
    offer = OFFERS.get(name)
    if offer is None:
        raise QuestionRefused("no such task is offered", hint=f"offered: {', '.join(OFFERS)}")
    given, shown = {}, {"finding": "", "text": ""}
    try:
        if offer.takes_finding:
            given["finding"] = finding_named(_first(form, "finding"))
            shown["finding"] = noun(given["finding"])
        if offer.sections:
            given["text"] = shown["text"] = _text(form, offer.sections)
        task = task_named(name)
        task.put(prepared(task, inputs_of(given), ()))
    except TaskError as error:
        raise QuestionRefused(str(error), hint=error.hint) from error
    return AskedTask(name, given, _shortened(offer.line.format_map(shown)))


def _first(form: Mapping[str, Sequence[str]], name: str) -> str:
    return (form.get(name) or ("",))[0]


def _text(form: Mapping[str, Sequence[str]], sections: Sequence[str]) -> str:
    """Return some sections of the page as running text."""
    lines = (line for section in sections for part in form.get(section, ()) for line in [part])
    text = " ".join(" ".join(lines).split())
    printable = "".join(char if char.isprintable() else " " for char in text)
    if not printable.strip():
        raise QuestionRefused("there is no text to ask about", hint=_NO_TEXT_HINT)
    if len(printable) > _MAX_TEXT:
        hint = f"use at most {_MAX_TEXT} characters"
        raise QuestionRefused("the text is too long", hint=hint)
    return printable


def _shortened(line: str) -> str:
    return line if len(line) <= MAX_CHARACTERS else f"{line[: MAX_CHARACTERS - 1]}…"


def spoken(reading: Mapping[str, Any]) -> str:
    """Return what was read in a reply, as people say it; empty where nothing was."""
    return in_words(reading.get("value")) if reading.get("parsed") else ""
