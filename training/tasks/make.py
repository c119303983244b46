"""The table made: films and collections, checked, balanced, limited; the same on every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from training.catalog import Catalog, Film
from training.errors import TaskTableError
from training.tasks.balance import balanced
from training.tasks.builders import build
from training.tasks.mixtures import TaskMixture
from training.tasks.sources import SOURCES
from training.tasks.sources.base import examples
from training.tasks.table import Example, Examples, admit
from training.vqa.phrasings import digest


def candidates(catalog: Catalog, mixture: TaskMixture, dropped: Counter[str]) -> Iterator[Example]:
    """Yield what films and collections give for the tasks of a mixture.

    Rows of a collection are asked on films of the catalog, whose patient and split they take: a
    collection cannot move a patient, nor bring in a film that the catalog refuses.
    """
    yield from build(catalog.films, mixture.tasks)
    films = {film.image_id: film for film in catalog.films}
    for name, section in mixture.sources.items():
        for row in examples(SOURCES[name], section.path, section.licence):
            shown = [films[image] for image in row.image_ids if image in films]
            if row.task not in mixture.tasks:
                continue
            if len(shown) < len(row.image_ids):
                dropped[f"{row.task}: film is not in the catalog"] += 1
                continue
            yield owned(row, shown[0]) if shown else row


def owned(row: Example, film: Film) -> Example:
    """Return a row as one of the catalog's own studies."""
    return replace(row, study_id=film.study_id, patient_id=film.patient_id, split=film.split)


def make(catalog: Catalog, mixture: TaskMixture) -> Examples:
    """Return the table of a mixture.

    Raises
    ------
    TaskTableError
        A patient stands in two splits, a source cannot be read, or a task has no training row.
    """
    dropped: Counter[str] = Counter()
    admitted = admit(candidates(catalog, mixture, dropped))
    dropped.update(admitted.dropped)
    rows = limited(balanced(admitted.rows, dropped), mixture.limit, dropped)
    taught = {row.task for row in rows if row.split == "train"}
    empty = [name for name in mixture.tasks if name not in taught]
    if empty:
        raise TaskTableError(
            f"no training row for {', '.join(empty)}", hint="leave these out of the mixture"
        )
    return Examples(rows, dict(mixture.tasks), dict(+dropped))


def limited(rows: Iterable[Example], limit: int, dropped: Counter[str]) -> list[Example]:
    """Return ``limit`` rows of each task and split at most (0: all), chosen by hash."""
    ordered = list(rows)
    if not limit:
        return ordered
    taken: Counter[tuple[str, str]] = Counter()
    kept: set[Example] = set()
    for row in sorted(ordered, key=lambda r: digest(r.study_id, r.task, r.instruction)):
        taken[row.task, row.split] += 1
        if taken[row.task, row.split] <= limit:
            kept.add(row)
        else:
            dropped[f"{row.task}: beyond the limit"] += 1
    return [row for row in ordered if row in kept]
