"""The completion of command lines in a shell: each program prints its own script (`shtab`)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SHELLS: Final = ("bash", "zsh", "fish")


def add_verb(verbs: Any) -> None:
    """Add the verb to a command line."""
    verb = verbs.add_parser("completion", help="print what completes this program's words")
    verb.add_argument("shell", choices=SHELLS, help="the shell that is to complete them")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that makes a shell complete the words of a command line.

    Parameters
    ----------
    parser
        The parser of the whole command line; options that take a path complete files.
    """
    import shtab  # no other verb needs it

    for action in _actions(parser):
        if action.type is Path:
            kind = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
            action.complete = kind  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield what a command line takes, verb by verb."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
