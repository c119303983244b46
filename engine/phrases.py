"""What reports usually say next: guesses that the model then checks, several tokens at a step.

A bundle may hold a table of contexts (up to six tokens, the beginning of the report counting as
one) with the token that most often followed each in the training reports. Only what stood in
several reports is in it, so that nobody's report can be read out of a bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BundleCorrupt

ROLE = "phrases"
START = -1
"""Stands before a report's first token."""
MAX_GUESSES = 5
MIN_CHANCE = 0.25
"""A guess less likely than that to be right costs more time than it saves."""


@dataclass(frozen=True)
class PhraseBook:
    """Contexts and what follows them.

    Parameters
    ----------
    order
        Tokens of the longest context.
    follows
        Context -> the token that most often follows it, and how often it does (0 … 1).
    """

    order: int
    follows: Mapping[tuple[int, ...], tuple[int, float]]

    @classmethod
    def read(cls, path: Path) -> PhraseBook:
        """Read the table of a bundle.

        Raises
        ------
        BundleCorrupt
            It is no such table.
        """
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as fault:
            raise BundleCorrupt(f"{path.name} is no table of phrases") from fault

    @classmethod
    def of(cls, stored: dict[str, Any]) -> PhraseBook:
        """Return the table that `as_json` wrote."""
        follows = {
            tuple(context): (int(token), float(chance))
            for context, token, chance in stored["follows"]
        }
        return cls(int(stored["order"]), follows)

    def as_json(self) -> dict[str, Any]:
        """Return what `read` reads."""
        rows = [[list(context), *what] for context, what in sorted(self.follows.items())]
        return {"order": self.order, "follows": rows}

    def guess(self, written: Sequence[int]) -> list[int]:
        """Return the tokens that may well follow a report's beginning."""
        known = [START, *written[-self.order :]] if len(written) < self.order else [*written]
        known = known[-self.order :]
        guesses: list[int] = []
        chance = 1.0
        while len(guesses) < MAX_GUESSES:
            token, share = self._next(known)
            chance *= share
            if chance < MIN_CHANCE:
                break
            guesses.append(token)
            known.append(token)
        return guesses

    def _next(self, known: Sequence[int]) -> tuple[int, float]:
        """Return what follows the longest known context."""
        for length in range(min(self.order, len(known)), 0, -1):
            found = self.follows.get(tuple(known[-length:]))
            if found is not None:
                return found
        return START, 0.0


NO_PHRASES = PhraseBook(0, {})
