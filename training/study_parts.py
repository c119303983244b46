"""What a study holds beside its frontal film: a lateral one, an indication, the report before.

Each part is given in a share of the rows of those studies that have it, drawn apart from the
others, so that the model also learns to do without. The report before is the cleaned one, as every
report here is; what the row's own report says in comparison stays out all the same: of the earlier
study the prompt has words and no film, and a model that learns "unchanged" from words repeats what
it was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.study_input import previous_text
from training.catalog import Film
from training.config import PartName


@dataclass(frozen=True)
class Found:
    """Parts of one study; ``lateral`` is a row of the catalog."""

    lateral: int | None = None
    indication: str = ""
    previous_report: str = ""


@dataclass(frozen=True)
class Companions:
    """The lateral films of studies, and their reports, by study."""

    laterals: Mapping[str, Sequence[int]] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, films: Sequence[Film]) -> Companions:
        """Gather them from a catalog."""
        laterals: dict[str, list[int]] = {}
        for row, film in enumerate(films):
            if film.view == "lateral":
                laterals.setdefault(film.study_id, []).append(row)
        reports = {
            film.study_id: previous_text(film.findings, film.impression)
            for film in films
            if film.has_report
        }
        return cls(laterals, reports)

    def whole(self, film: Film) -> Found:
        """Return all that is known beside a frontal film: of several laterals the first."""
        laterals = self.laterals.get(film.study_id) or (None,)
        previous = self.reports.get(film.previous_study_id, "")
        return Found(laterals[0], film.indication, previous)

    def drawn(
        self, film: Film, shares: Mapping[PartName, float], rng: np.random.Generator
    ) -> Found:
        """Return what a row is given beside a frontal film, each part by its own chance."""
        if not shares:
            return NOTHING
        given = {part for part in PARTS if rng.random() < shares.get(part, 0)}
        laterals = self.laterals.get(film.study_id, ()) if "lateral" in given else ()
        whole = self.whole(film)
        return Found(
            int(rng.choice(laterals)) if laterals else None,
            whole.indication if "indication" in given else "",
            whole.previous_report if "previous_report" in given else "",
        )


PARTS: Final[tuple[PartName, ...]] = ("lateral", "indication", "previous_report")
NOTHING: Final = Found()
NONE: Final = Companions()
