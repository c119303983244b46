"""The documents, and what stands in their fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    line
        Where it begins.
    is_next
        Nothing stands between it and the block before: it shows what that one prints.
    """

    path: Path
    line: int
    kind: str
    text: str
    is_next: bool

    def __str__(self) -> str:
        """Name it, as a test is named."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a document, in order."""
    text, end, blocks = path.read_text(encoding="utf-8"), 0, list[Block]()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        is_next = bool(blocks) and not text[end : found.start()].strip()
        blocks.append(Block(path, line, found[1].strip(), found[2], is_next))
        end = found.end()
    return blocks


def all_blocks(*kinds: str) -> list[Block]:
    """Return the blocks of all documents that are of some kinds; of any, if none is named."""
    found = [block for path in DOCUMENTS for block in blocks_of(path)]
    return [block for block in found if not kinds or block.kind in kinds]


def is_shown(line: str, output: str) -> bool:
    """Tell whether a line of a document stands in an output; figures and … stand for anything.

    A run of hexadecimal digits with a figure in it is a figure: keys, UIDs and digests vary.
    """
    words = [re.escape(word).replace("…", ".*") for word in line.split()]
    figures = r"(?<![\\a-z])[0-9a-f]*[0-9][0-9a-f]*"
    pattern = r"\s+".join(re.sub(figures, "[0-9a-f]+", word) for word in words)
    return re.search(pattern, output) is not None


def same_shape(shown: object, seen: object) -> bool:
    """Tell whether two JSON values have the same keys and kinds of values; null fits anything.

    A list that is shown empty fits any list; what else it shows must fit some item.
    """
    if shown is None or seen is None:
        return True
    if isinstance(shown, dict):
        return isinstance(seen, dict) and all(
            key in seen and same_shape(value, seen[key]) for key, value in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(seen, list) and all(
            any(same_shape(one, other) for other in seen) for one in shown
        )
    numbers = (int, float)
    return type(shown) is type(seen) or (isinstance(shown, numbers) and isinstance(seen, numbers))
