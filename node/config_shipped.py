"""The shipped config.yaml, read as text: the one place where keys are explained.

Its comments are what `cxr-node schema` tells editors, and what `cxr-node init` writes for a site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

SHIPPED: Final = Path(__file__).with_name("config.default.yaml")
EXAMPLE_PEER: Final = "hospital-pacs"

_EXAMPLE = re.compile(r"#( {2,}\S.*)")
_KEY = re.compile(r"( *)([A-Za-z_][\w-]*):(?: (.*))?$")
_COMMENT = re.compile(r" *# (.*)")
_ITEM = re.compile(r"( *)-$")


@dataclass(frozen=True)
class Line:
    """A key of the file: where it stands, and what the comment above it says."""

    number: int
    """Index of the line, from 0."""
    key: str
    """Dotted path; an item of a list is `[]`."""
    comment: str
    is_example: bool
    """Whether the key is commented out."""


def shipped_text() -> str:
    """Return the shipped file."""
    return SHIPPED.read_text(encoding="utf-8")


def lines_of(text: str) -> Iterator[Line]:
    """Yield the keys of a file that is written like the shipped one."""
    above: list[tuple[int, str]] = []
    comment: list[str] = []
    for number, raw in enumerate(text.splitlines()):
        example = _EXAMPLE.fullmatch(raw)
        line = example[1] if example else raw
        item, key, remark = _ITEM.fullmatch(line), _KEY.fullmatch(line), _COMMENT.fullmatch(line)
        if item:
            above = [place for place in above if place[0] <= len(item[1])]
            above.append((len(item[1]) + 1, "[]"))
        elif key:
            above = [place for place in above if place[0] < len(key[1])]
            above.append((len(key[1]), key[2]))
            dotted = ".".join(name for _, name in above)
            yield Line(number, dotted, " ".join(comment), example is not None)
        comment = [*comment, remark[1]] if remark and not key else []


def comments(text: str) -> dict[str, str]:
    """Return what is said of each key, by its dotted path."""
    return {line.key: line.comment for line in lines_of(text) if line.comment}


def filled_in(text: str, values: Mapping[str, Any]) -> str:
    """Return a file with other values for some keys.

    Parameters
    ----------
    values
        By dotted path. A key of the example peer makes that peer a real one.
    """
    lines = text.splitlines()
    has_peer = any(key.startswith("peers.") for key in values)
    for line in lines_of(text):
        is_peers = line.is_example and line.key.startswith("peers.")
        if has_peer and is_peers:
            lines[line.number] = lines[line.number][1:]
        if line.key in values:
            head = lines[line.number].partition(":")[0]
            lines[line.number] = f"{head}: {_written(values[line.key])}"
    if has_peer:
        lines = list(_with_peer_comments(lines))
    return "\n".join(lines) + "\n"


def _with_peer_comments(lines: list[str]) -> Iterator[str]:
    """Yield the lines with `peers: {}` opened, and the comments of the example peer as comments."""
    section = ""
    for line in lines:
        if line and line[0] not in " #":
            section = line.partition(":")[0]
        is_comment = section == "peers" and _EXAMPLE.fullmatch(line)
        yield "peers:" if line == "peers: {}" else line[1:] if is_comment else line


def _written(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
