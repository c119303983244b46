"""Which films a stage may use for which task, and how often each is picked.

The published recipe uses a film in one direction only, by the parity of its place among sorted
identifiers, and in its second stage only each patient's first study (arXiv 2305.11490, section 4
and appendix): the second is what keeps references to priors out. Both are recipe settings here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training import order
from training.catalog import Film
from training.config import SftSection
from training.errors import TrainingError
from training.typical import typical

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Films of one task: all of them, and split by whether their labels hold a finding."""

    films: Rows
    abnormal: Rows
    normal: Rows
    abnormal_share: float | None = None

    @classmethod
    def of(cls, rows: Rows, films: list[Film], abnormal_share: float | None) -> Pool:
        """Split rows by whether their film has a finding."""
        has = np.asarray([bool(films[row].present) for row in rows], bool)
        return cls(rows, rows[has], rows[~has], abnormal_share)

    def pick(self, number: int, seed: int, rng: np.random.Generator) -> int:
        """Return the film of row ``number``: by turns, or as often abnormal as asked for."""
        if self.abnormal_share is None or not (len(self.abnormal) and len(self.normal)):
            return int(self.films[order.batch_rows(len(self.films), 1, seed, number)[0]])
        return int(rng.choice(self.abnormal if rng.random() < self.abnormal_share else self.normal))


@dataclass(frozen=True)
class TaskPool:
    """Rows of the table of instructions, by task, and how often each task is picked."""

    rows: Sequence[Rows]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, tasks: Sequence[str], weights: Mapping[str, float]) -> Self:
        """Return the pool of rows whose tasks are given in order.

        Raises
        ------
        TrainingError
            A task with a weight has no row.
        """
        names = np.asarray(tasks, dtype=str)
        rows = [np.flatnonzero(names == name) for name in weights]
        missing = [name for name, found in zip(weights, rows, strict=True) if not len(found)]
        if missing or not rows:
            raise TrainingError(
                f"no training row for {', '.join(missing) or 'any task'}",
                hint="build the instructions again: `cxr-train instructions build`",
            )
        values = np.asarray(list(weights.values()), np.float64)
        return cls(rows, values / values.sum())

    def pick(self, number: int, seed: int, rng: np.random.Generator) -> int:
        """Return the place of a row in the table: a task by weight, then any of its rows."""
        rows = self.rows[int(rng.choice(len(self.rows), p=self.weights))]
        return int(rows[int(rng.integers(len(rows)))])


def usable(film: Film, settings: SftSection) -> bool:
    """Tell whether a stage may use a training film at all."""
    in_view = settings.views == "all" or film.view == "frontal"
    return film.split == "train" and in_view and (film.earliest or not settings.earliest_only)


def tells(film: Film, settings: SftSection) -> bool:
    """Tell whether a film has the text that the stage writes and draws from."""
    wanted = {
        "report": film.has_report,
        "findings": bool(film.findings),
        "impression": bool(film.impression),
    }
    return wanted[settings.target]


def pools(
    films: list[Film], settings: SftSection, asked: Collection[int] = frozenset(), seed: int = 0
) -> dict[str, Pool]:
    """Return the pool of every task of a stage; ``asked`` are the films that have questions.

    Only what is learned to be written is kept to the typical; every report may be drawn from.

    Raises
    ------
    TrainingError
        A task of the mixture has no film.
    """
    free = [row for row, film in enumerate(films) if usable(film, settings)]
    told = [row for row in free if tells(films[row], settings)]
    labelled = [row for row in free if settings.label_films and not films[row].has_report]
    readable, drawable = told, told + [row for row in labelled if films[row].present]
    if settings.directions == "one":
        ordered = sorted(told, key=lambda row: films[row].image_id)
        readable, drawable = ordered[::2], ordered[1::2]
    spoken = partial(typical, films, target=settings.target, share=settings.typical, seed=seed)
    chosen = {
        "report": spoken(readable),
        "compose": spoken(told),
        "draw": drawable,
        "vqa": [row for row in free if row in asked],
        "text": told,
    }
    for task, rows in chosen.items():
        if settings.mixture.get(task) and not rows:
            raise TrainingError(f"no film for task {task}", hint="look at the recipe's filters")
    return {
        task: Pool.of(np.asarray(rows, np.int64), films, settings.abnormal_share)
        for task, rows in chosen.items()
    }
