"""A film of nobody that a node may draft from: drawn, and drawn again until the guard takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from engine.errors import EngineError, GenerationFault
from engine.pixels import render
from node.phantom import film_from_drawing
from node.ports import Drafter

PROMPT = "The heart is enlarged. There is a small left pleural effusion. No pneumothorax."
_MAX_DRAWINGS = 12


class NoPhantom(EngineError):
    """No drawing passed the guard."""

    default_hint = "try `--seed` with another number"


@dataclass(frozen=True)
class Attempt:
    """One drawing, and why the guard would not have it."""

    seed: int
    film: Dataset
    reasons: tuple[str, ...]


def attempts(engine: Drafter, first_seed: int, now: datetime) -> Iterator[Attempt]:
    """Yield drawings; the last of them is one that the guard takes.

    Parameters
    ----------
    now
        When they are drawn, with its time zone.

    Raises
    ------
    NoPhantom
        A dozen were drawn in vain.
    """
    for seed in range(first_seed, first_seed + _MAX_DRAWINGS):
        drawing = engine.draw(PROMPT, seed=seed)
        if not drawing.codes:
            raise GenerationFault
        film = film_from_drawing(drawing, now)
        reasons = engine.inspect(render(film, engine.transform)).reasons
        yield Attempt(seed, film, reasons)
        if not reasons:
            return
    raise NoPhantom
