"""``cxr ask --task``: the tasks of the registry from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from engine.errors import TaskError
from engine.generation import Advance
from engine.results import Image
from engine.tasks.api import Answered, Follower, Tasks
from engine.tasks.registry import TASKS, Input, Task
from engine.tasks.values import as_json

GIVEN = (Input.FINDING, Input.TEXT, Input.SECTION, Input.PHRASE, Input.INDICATION)
"""What is given by an option of its own name; options of a choice come as a list."""
NOT_READ = "unparsable"


def add_arguments(ask: argparse.ArgumentParser) -> None:
    """Add what ``cxr ask`` takes for tasks."""
    ask.add_argument("--task", metavar="NAME", help="a task instead of a question")
    ask.add_argument("--list-tasks", action="store_true", help="print the tasks and what they take")
    for one in GIVEN:
        ask.add_argument(f"--{one.value}", metavar="TEXT", help=f"the task's {one.value}")
    ask.add_argument("--second", type=Path, metavar="FILE", help="film to compare with")
    ask.add_argument("--options", nargs="+", metavar="TEXT", help="the options to choose from")


def given_by(options: argparse.Namespace) -> dict[Input, str]:
    """Return what a command line gives to a task."""
    stated = {one: getattr(options, one.value) for one in GIVEN}
    return {one: text for one, text in stated.items() if text is not None}


def is_task(options: argparse.Namespace) -> bool:
    """Tell whether a task is asked for.

    Raises
    ------
    TaskError
        What belongs to a task is given without one, or a question with one.
    """
    if options.task is None:
        if given_by(options) or options.options or options.second:
            raise TaskError("no task is named", hint="add --task NAME; --list-tasks lists them")
        return False
    if options.question is not None:
        raise TaskError("a task and a question", hint="leave the question or --task out")
    return True


def put(
    options: argparse.Namespace,
    model: Follower,
    image: Image | None,
    other: Image | None,
    advance: Advance,
) -> Answered[Any]:
    """Put the task that a command line names."""
    return Tasks(model).run(
        options.task,
        image,
        given_by(options),
        options=tuple(options.options or ()),
        other=other,
        advance=advance,
    )


def shown(answer: Answered[Any]) -> str:
    """Return an answer as a line for people: what was read, or that nothing was, and the reply."""
    if not answer.is_parsed:
        return f"{NOT_READ}: {answer.text}"
    chosen = answer.as_json()["chosen"]
    return chosen or in_words(as_json(answer.value))


def in_words(value: Any) -> str:
    """Return a value as words: yes or no, a term, or what a list or a place holds."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    parts = value.values() if isinstance(value, dict) else value
    return ", ".join(str(part) for part in parts if part) or "none"


def task_lines() -> list[str]:
    """Return one line a task: name, what it takes, what it answers."""
    width = max(map(len, TASKS))
    return [f"{task.name:{width}}  {takes(task)} -> {task.answer.value}" for task in TASKS.values()]


def takes(task: Task) -> str:
    """Return what a task takes, as the command line names it."""
    files = ["film", "--second"][: task.num_films]
    return " ".join([*files, *(f"--{one.value}" for one in task.words)])


def task_records() -> list[dict[str, Any]]:
    """Return the tasks as JSON-ready values."""
    return [
        {
            "name": task.name,
            "family": task.family,
            "takes": [one.value for one in task.inputs],
            "answer": task.answer.value,
            "scored by": task.scorer.value,
        }
        for task in TASKS.values()
    ]
