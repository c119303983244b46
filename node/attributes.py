"""What a data set is to those who only ask it for attributes."""

from __future__ import annotations

from typing import Any, Protocol


class Attributes(Protocol):
    """What can be asked for an attribute by its keyword: a data set, or texts that were read."""

    def get(self, keyword: str, default: Any = None, /) -> Any:
        """Return the value of an attribute, the default where it is absent."""
        ...
