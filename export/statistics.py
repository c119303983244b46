"""Training films -> what they look like in numbers (`engine.statistics`), for a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.nets.classifier import film_tensor
from engine.pipeline import Engine
from engine.statistics import ROLE, FilmStatistics, measured
from export.bundle import entry, write_manifest
from export.errors import ExportError
from export.films import RunFilms

NAME = "statistics.json"
MAX_FILMS = 2000
"""So many say enough about five bins, and take a minute or two to look at."""


def add_statistics(directory: Path, films: RunFilms, version: str | None = None) -> FilmStatistics:
    """Write the statistics of a run's frontal training films into a bundle.

    Parameters
    ----------
    version
        Of the bundle with them; None leaves the version as it is.

    Raises
    ------
    BundleError
        The bundle is not whole.
    ExportError
        The run has no such films.
    """
    rows = spread(films.frontal("train"))
    if not len(rows):
        raise ExportError("the run has no frontal training films")
    engine = Engine.load(directory)
    found = FilmStatistics.of([_measured(engine, films, int(row)) for row in rows])
    path = directory / NAME
    path.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    manifest = engine.bundle.manifest
    changed: dict[str, Any] = {"files": manifest["files"] | {ROLE: entry(path)}}
    if version is not None:
        changed["version"] = version
    write_manifest(directory, manifest | changed)
    return found


def spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return so many rows, evenly spread over all: a catalog is in order of its sources."""
    if len(rows) <= MAX_FILMS:
        return rows
    places = np.linspace(0, len(rows) - 1, MAX_FILMS).round().astype(np.int64)
    return rows[places]


def _measured(engine: Engine, films: RunFilms, row: int) -> dict[str, float]:
    image = film_tensor(np.asarray(films.images[row : row + 1])).numpy()[0]
    return measured(image, engine.inspect(image), _aspect(films.rows, row))


def _aspect(rows: Sequence[dict[str, Any]], row: int) -> float:
    """Return rows over columns of a film before training squashed it."""
    width, height = rows[row].get("orig_width"), rows[row].get("orig_height")
    return float(height) / float(width) if width and height else 1.0
