"""What a reply can be read as: plain values, and one that says that it cannot be read."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final


class Unparsable(enum.Enum):
    """A reply that answers nothing; it is no answer, and never counts as one."""

    UNPARSABLE = "unparsable"


UNPARSABLE: Final = Unparsable.UNPARSABLE


@dataclass(frozen=True)
class Place:
    """Where in the chest, coarsely; ``""`` where the reply does not say."""

    side: str
    region: str


@dataclass(frozen=True)
class Box:
    """A rectangle in percent of width and height, origin at the top left."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def is_proper(self) -> bool:
        """Tell whether it has an area and lies on the film."""
        return 0 <= self.left < self.right <= 100 and 0 <= self.top < self.bottom <= 100

    @property
    def area(self) -> float:
        """Return the area in squared percent."""
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)

    def overlap(self, other: Box) -> float:
        """Return the intersection over the union, 0 … 1."""
        shared = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        union = self.area + other.area - shared
        return shared / union if union else 0.0

    def __str__(self) -> str:
        """Return it as a model writes it, in whole percent."""
        return f"({self.left:.0f},{self.top:.0f}),({self.right:.0f},{self.bottom:.0f})"


Value = bool | int | str | frozenset[str] | Place | tuple[Box, ...]
"""Yes or no, the place of an option, a term or text, findings or options, a place, boxes."""
Reading = Value | Unparsable


def as_json(value: Reading) -> Any:
    """Return a value as JSON knows it; what cannot be read is null."""
    if isinstance(value, Unparsable):
        return None
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Place):
        return {"side": value.side, "region": value.region}
    if isinstance(value, tuple):
        return [[float(e) for e in (b.left, b.top, b.right, b.bottom)] for b in value]
    return value
