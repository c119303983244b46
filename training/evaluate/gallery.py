"""The failure gallery: the drafts that went most wrong, each beside its film and its reference.

It holds films and reports of the data, so it stays in the run directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from training.catalog import Film
from training.evaluate.finding_errors import Errors, compare
from training.evaluate.reports import MODEL, Predicted, reference, section_of
from training.stages import Run

KINDS = tuple(field.name for field in fields(Errors) if field.name != "matched")
SHOWN = 4
"""Drafts shown of each kind of error."""


@dataclass(frozen=True)
class Failure:
    """A draft, its reference, and how it erred."""

    image_id: str
    draft: str
    reference: str
    errors: Errors

    def badness(self, kind: str) -> tuple[int, int]:
        """Return how many errors of a kind it has, then how little it got right."""
        return getattr(self.errors, kind), -self.errors.matched


def failures(predicted: Sequence[Predicted], films: Mapping[str, Film]) -> list[Failure]:
    """Return the model's drafts as failures, in order; a draft without an error is one of none."""
    found = []
    for one in predicted:
        if one.system == MODEL:
            draft = section_of(one, "report")
            wanted = section_of(reference(films[one.image_id], "written"), "report")
            found.append(Failure(one.image_id, draft, wanted, compare(draft, wanted)))
    return found


def worst(found: Sequence[Failure], kind: str) -> list[Failure]:
    """Return the drafts with most errors of a kind, at most `SHOWN`."""
    erring = [one for one in found if getattr(one.errors, kind)]
    return sorted(erring, key=lambda one: one.badness(kind), reverse=True)[:SHOWN]


def page(found: Sequence[Failure]) -> Iterator[str]:
    """Yield the lines of the gallery, kind by kind."""
    yield f"# Failure gallery: {len(found)} drafts\n"
    for kind in KINDS:
        erring = sum(getattr(one.errors, kind) > 0 for one in found)
        yield f"## {kind.replace('_', ' ')}: in {erring} drafts\n"
        for one in worst(found, kind):
            yield f"![film](failures/{one.image_id}.png)\n"
            yield f"* draft: {one.draft}\n* reference: {one.reference}\n"


def write_gallery(run: Run, predicted: Sequence[Predicted], output: Path) -> None:
    """Write ``failures.md`` and the films that it shows."""
    films = {film.image_id: film for film in run.catalog.films}
    rows = {film.image_id: row for row, film in enumerate(run.catalog.films)}
    found = failures(predicted, films)
    (output / "failures.md").write_text("\n".join(page(found)), encoding="utf-8")
    shown = {one.image_id for kind in KINDS for one in worst(found, kind)}
    (output / "failures").mkdir(exist_ok=True)
    for image_id in shown:
        film = Picture.fromarray(np.asarray(run.images[rows[image_id]]))
        film.save(output / "failures" / f"{image_id}.png")
