"""The documents and what stands in their fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, of what kind it is, and what it says."""

    path: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        """Name it, as a test is named."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a document, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(path, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])
        for found in _FENCE.finditer(text)
    ]


def all_blocks(*kinds: str) -> list[Block]:
    """Return the blocks of all documents that are of some kinds; of any, if none is named."""
    found = [block for path in DOCUMENTS for block in blocks_of(path)]
    return [block for block in found if not kinds or block.kind in kinds]


def is_shown(line: str, output: str) -> bool:
    """Tell whether a line of a document stands in an output; figures and … stand for anything.

    A run of hexadecimal digits with a figure in it is a figure: keys, UIDs and digests vary.
    """
    pattern = re.escape(" ".join(line.split())).replace("…", ".*").replace(r"\ ", r"\s+")
    figures = re.sub(r"(?<![\\a-z])[0-9a-f]*[0-9][0-9a-f]*", "[0-9a-f]+", pattern)
    return re.search(figures, output) is not None
