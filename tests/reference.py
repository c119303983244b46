"""The pages of docs/reference that are made from the code: keys, commands, errors and events.

``python -m tests.reference`` writes them (`make docs`); tests/test_docs.py holds them current.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

import engine.cli
import export.cli
import node.cli
import training.cli
from engine.tasks.registry import TASKS
from node.config_shipped import lines_of, shipped_text
from tests.reference_errors import errors_page
from training.tasks.builders import BUILDERS
from training.tasks.sources import SOURCES

FOLDER = Path(__file__).parents[1] / "docs/reference"
_MADE: Final = "Made by `make docs`; a test holds it current."

_CONFIG: Final = f"""# Every key of config.yaml

{_MADE} What a value may be, and how it is looked up, is
in [configuration](../how-to/configuration.md); [config.schema.json](config.schema.json) tells
editors the same.
A key is also an environment variable: `node.port` is `CXR_NODE__PORT`.
"""
_COMMANDS: Final = f"""# Commands

{_MADE} Each command prints this for itself with `--help`.

## Exit status

| status | means, for all four programs |
|---:|---|
| 0 | done; of a check: all is well |
| 1 | it failed, or the answer is no: a check that is not good, a node that is not ready |
| 2 | the command line is not understood |
| 3 | `cxr` alone: the film is no upright frontal chest film |
| 130 | `cxr-train` alone: stopped from the keyboard, to be resumed by the same command |

Errors go to standard error with a `hint:`; what was asked for goes to standard output, as JSON
with `--json`.
"""


def config_page() -> str:
    """Return the table of all keys, a section for each part of the file."""
    shipped = yaml.safe_load(shipped_text())
    rows: dict[str, list[str]] = {}
    for line in lines_of(shipped_text()):
        key = line.key.replace("peers.hospital-pacs", "peers.NAME").replace(".[]", "[]")
        value = _value(shipped, line.key)
        if isinstance(value, dict) and value:
            continue
        shown = _example(line.number) if line.is_example else _dumped(value)
        if not line.comment and line.is_example:
            continue
        section = ".".join(key.split(".")[: 2 if key.count(".") > 1 else 1])
        remark = line.comment.replace("|", "\\|")
        rows.setdefault(section, []).append(f"| `{key}` | `{shown}` | {remark} |")
    parts = [_CONFIG]
    for section, lines in rows.items():
        head = "| key | example |" if section.startswith("peers.") else "| key | default |"
        parts.append(f"\n## {section}\n\n{head} |\n|---|---|---|\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def _example(number: int) -> str:
    """Return the value of a key in the example that is commented out."""
    return shipped_text().splitlines()[number].partition(": ")[2]


def _dumped(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def _value(content: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def commands_page() -> str:
    """Return every verb of every program with its arguments."""
    parsers = {
        "cxr-node": node.cli._parser(with_demo=True),
        "cxr": engine.cli._parser(),
        "cxr-train": training.cli.parser(),
        "cxr-export": export.cli.parser(),
    }
    parts = [_COMMANDS]
    for name, parser in parsers.items():
        parts.append(f"\n## {name}\n\n{parser.description or ''}\n")
        parts += _verbs(name, parser)
    return "".join(parts)


def _verbs(called: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the verbs below a parser, deepest last."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, verb in action.choices.items():
            words = f"{called} {name}"
            yield f"\n### {words}\n\n{_sentence(texts.get(name, ''))}\n"
            yield _arguments(verb)
            yield from _verbs(words, verb)


def _sentence(text: str) -> str:
    text = text.replace("%%", "%").strip()
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = [
        f"| `{_called(action)}` | {_remark(action)} |\n"
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]
    return "\n| argument | |\n|---|---|\n" + "".join(rows) if rows else ""


def _called(action: argparse.Action) -> str:
    """Return how an argument is written."""
    takes_none = action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction)
    choices = "\\|".join(map(str, action.choices)) if action.choices else ""
    named = action.metavar or choices or action.dest.upper()
    value = "" if takes_none else named if isinstance(named, str) else " ".join(named)
    return " ".join(filter(None, [", ".join(action.option_strings), value]))


def _remark(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    return text.replace("%(default)s", str(action.default))


_TASKS: Final = f"""# Tasks

{_MADE} How they are put is in
[how-to/tasks.md](../how-to/tasks.md). The families are those of CheXagent's instruction data (arXiv
2401.12208). What no film with a report can teach is learned from public collections:
[training](../how-to/training.md#tasks).

| task | family | takes | answers with | scored by | taught by | for example |
|---|---|---|---|---|---|---|
"""


def tasks_page() -> str:
    """Return the table of all tasks."""
    rows = [
        f"| `{task.name}` | {task.family} | {', '.join(one.value for one in task.inputs)} "
        f"| {task.answer.value} | {task.scorer.value} | {_teachers(task.name)} "
        f"| {task.instructions[0]} |\n"
        for task in TASKS.values()
    ]
    return _TASKS + "".join(rows)


def _teachers(task: str) -> str:
    """Return what can teach a task: films with reports, and collections by name."""
    films = ["films"] if task in BUILDERS else []
    return ", ".join([*films, *(name for name, one in SOURCES.items() if task in one.tasks)])


PAGES: Final[dict[str, Callable[[], str]]] = {
    "config.md": config_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "tasks.md": tasks_page,
}
"""The pages that are made, and how."""


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
