"""A first config.yaml for a site: the shipped file with the answers to a few questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from node.config import NodeSettings, PeerSettings, Settings
from node.config_schema import config_schema
from node.config_shipped import EXAMPLE_PEER, filled_in, shipped_text
from node.errors import NodeError

_PEER = f"peers.{EXAMPLE_PEER}"
_MODELINE = "# yaml-language-server: $schema="
_YES = {"y": True, "yes": True, "n": False, "no": False}


class InitRefused(NodeError):
    """The configuration file is not written."""


@dataclass(frozen=True)
class Question:
    """One thing that a site must say."""

    name: str
    """Of the command line's option, with `_`."""
    text: str
    key: str
    model: type[BaseModel]
    default: str

    def checked(self, answer: str) -> Any:
        """Return the value of an answer.

        Raises
        ------
        ValueError
            Says what is wrong with it.
        """
        field = self.model.model_fields[self.key.rpartition(".")[2]]
        kind: Any = Annotated[field.annotation, *field.metadata]
        try:
            return TypeAdapter(kind).validate_python(answer.strip())
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


QUESTIONS: Final = (
    Question("ae_title", "Our AE title", "node.ae_title", NodeSettings, "CXRDRAFT"),
    Question("port", "The port that we listen on", "node.port", NodeSettings, "11112"),
    Question("pacs_aet", "The PACS's AE title", f"{_PEER}.ae_title", PeerSettings, "PACS"),
    Question("pacs_host", "The PACS's host", f"{_PEER}.host", PeerSettings, "10.0.0.5"),
    Question("pacs_port", "The PACS's port", f"{_PEER}.port", PeerSettings, "104"),
)
SEND: Final = "Send the drafts back to it (yes or no)"

Ask = Callable[[str, str], str]
"""Puts a question with its default to somebody; returns the answer."""


def answers(given: Mapping[str, str | None], sends: bool | None, ask: Ask) -> dict[str, Any]:
    """Return the values of keys, each checked as soon as it is known.

    Parameters
    ----------
    given
        Answers from the command line, by the names of the questions.
    sends
        Whether drafts go back; None asks.

    Raises
    ------
    InitRefused
        An answer from the command line is wrong; others are asked for again.
    """
    values = {question.key: _answer(question, given, ask) for question in QUESTIONS}
    while sends is None:
        sends = _YES.get(ask(SEND, "yes").strip().lower())
    return values | {f"{_PEER}.send": ["report"] if sends else []}


def _answer(question: Question, given: Mapping[str, str | None], ask: Ask) -> Any:
    answer = given.get(question.name)
    if answer is not None:
        try:
            return question.checked(answer)
        except ValueError as error:
            option = question.name.replace("_", "-")
            raise InitRefused(f"--{option} {answer}: {error}") from None
    text = question.text
    while True:
        try:
            return question.checked(ask(text, question.default))
        except ValueError as error:
            text = f"{error}. {question.text}"


def write(path: Path, values: Mapping[str, Any], *, force: bool) -> tuple[Path, Path]:
    """Write the file, and beside it the schema that editors check it by; return both.

    Raises
    ------
    InitRefused
        There is one already, or the folder cannot be written.
    """
    schema = path.with_suffix(".schema.json")
    first, rest = shipped_text().split("\n", 1)
    assert first.startswith(_MODELINE)
    text = filled_in(f"{_MODELINE}{schema.name}\n{rest}", values)
    Settings.model_validate(yaml.safe_load(text))
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
        schema.write_text(schema_text(), encoding="utf-8")
    except FileExistsError:
        raise InitRefused(f"{path} is there already", hint="--force writes over it") from None
    except OSError as error:
        raise InitRefused(f"{path}: {error.strerror}") from error
    return path, schema


def schema_text() -> str:
    """Return the schema as it is written."""
    return json.dumps(config_schema(), indent=1, ensure_ascii=False) + "\n"
