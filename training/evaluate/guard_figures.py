"""What the guard of a bundle lets in: val films as they are, turned, inverted, and no films at all.

The images that are no chest films are those of `training.distractors`, made from val films; real
ones are few and are asked in the tests of the bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.guard import VIEWS
from engine.nets.classifier import film_tensor
from engine.pipeline import Engine
from engine.results import Inspection
from training.distractors import distractor
from training.evaluate.bootstrap import Figure, PatientDraws
from training.evaluate.figure_table import store
from training.progress import bar
from training.stages import Run

Film = NDArray[np.uint8]
Change = Callable[[Film, np.random.Generator], Film]
FRONTAL, LATERAL, OTHER = VIEWS


def as_it_is(film: Film, rng: np.random.Generator) -> Film:
    """Leave a film alone."""
    return film


def inverted(film: Film, rng: np.random.Generator) -> Film:
    """Swap black and white."""
    return 255 - film


def turned(film: Film, rng: np.random.Generator) -> Film:
    """Turn a film by 90, 180 or 270 degrees."""
    return np.rot90(film, int(rng.integers(1, 4))).copy()


def no_film(film: Film, rng: np.random.Generator) -> Film:
    """Make something else of a film."""
    return distractor(rng, film)


CASES: dict[str, tuple[str, Change, bool]] = {
    "frontal films accepted": (FRONTAL, as_it_is, True),
    "lateral films refused": (LATERAL, as_it_is, False),
    "inverted frontal films refused": (FRONTAL, inverted, False),
    "turned frontal films refused": (FRONTAL, turned, False),
    "images that are no chest films refused": (FRONTAL, no_film, False),
}
"""By figure: the view of the val films, what is done to them, and the right verdict."""
SEEN = {as_it_is: None, no_film: OTHER}
"""Changes after which a view is to be named; ``None``: the film's own."""


def evaluate_guard(run: Run, bundle_dir: Path | None, limit: int = 0) -> dict[str, Figure]:
    """Ask a bundle's guard about val films in every state; write and return how often it is right.

    ``limit`` films of each case at most (0: all); a case without films has no figure. ``view
    accuracy`` counts frontal, lateral and other images.
    """
    engine = Engine.load(bundle_dir)
    found: dict[str, Figure] = {}
    views: list[tuple[str, float]] = []
    for name, (view, change, right) in CASES.items():
        rows = of_view(run, view)[: limit or None]
        if not rows:
            continue
        verdicts = inspected(run, engine, rows, change, name)
        patients = [run.catalog.films[row].patient_id for row in rows]
        found[name] = share(patients, [verdict.accepted == right for verdict in verdicts])
        if change in SEEN:
            wanted = SEEN[change] or view
            hits = [float(verdict.view == wanted) for verdict in verdicts]
            views += zip(patients, hits, strict=True)
    found["view accuracy"] = share([name for name, _ in views], [hit for _, hit in views])
    store(found, run.run_dir / "evaluate" / "guard")
    return found


def of_view(run: Run, view: str) -> list[int]:
    """Return the val films of a view, as rows of the catalog."""
    films = run.catalog.films
    return [row for row, film in enumerate(films) if film.split == "val" and film.view == view]


def inspected(
    run: Run, engine: Engine, rows: list[int], change: Change, name: str
) -> list[Inspection]:
    """Return the guard's verdicts on changed films."""
    rng = np.random.default_rng(run.recipe.seed)
    verdicts = []
    with bar(name, len(rows)) as progress:
        for row in rows:
            film = change(np.asarray(run.images[row]), rng)
            verdicts.append(engine.inspect(film_tensor(film[None])[0].numpy()))
            progress.advance(progress.task_ids[0])
    return verdicts


def share(patients: list[str], hits: list[bool] | list[float]) -> Figure:
    """Return the mean of hits with its interval over patients."""
    values = np.asarray(hits, np.float64)
    return PatientDraws(patients).figure(lambda picks: float(values[picks].mean()))
