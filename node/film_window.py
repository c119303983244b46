"""The films that came last, in numbers, beside those that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from engine.bundle import DEMO, MANIFEST, read_manifest, sha256_of
from engine.errors import BundleError
from engine.statistics import ROLE, FilmStatistics, Measurements
from node.drift import MEASURED, WINDOW, Drift, drift_of, read_detail
from node.schema import event
from node.transactions import reading

_NEWEST_EVENTS = 50_000


@dataclass(frozen=True)
class Training:
    """What a bundle says of its training films; None: it says nothing, drift is not measured."""

    digest: str
    statistics: FilmStatistics | None

    @classmethod
    def of(cls, bundle_dir: Path | None) -> Training:
        """Read it from a bundle; one that cannot be read is somebody else's to refuse."""
        root = bundle_dir or DEMO
        try:
            manifest = read_manifest(root / MANIFEST)
            entry = manifest.get("files", {}).get(ROLE)
            found = FilmStatistics.read(root / str(entry["path"])) if entry else None
            return cls(sha256_of(root / MANIFEST), found)
        except (BundleError, OSError):
            return cls("", None)


class FilmWindow:
    """Compares the newest films with those of training.

    Parameters
    ----------
    trainings
        The bundles that draft.
    """

    def __init__(self, engine: Engine, trainings: Sequence[Training]) -> None:
        self._engine = engine
        self._trainings = {
            one.digest[:12]: one.statistics for one in trainings if one.statistics is not None
        }

    @property
    def is_measured(self) -> bool:
        """Tell whether a bundle holds what films can be compared with."""
        return bool(self._trainings)

    def drift(self) -> Drift | None:
        """Return the drift, the larger of two bundles'; None where it cannot be told (yet)."""
        by_digest = self._newest()
        found = (
            drift_of(training, by_digest.get(digest, []))
            for digest, training in self._trainings.items()
        )
        return max((one for one in found if one), key=lambda one: one.score, default=None)

    def _newest(self) -> dict[str, list[Measurements]]:
        """Return the numbers of the newest films by the bundle that looked at them."""
        if not self._trainings:
            return {}
        with reading(self._engine) as connection:
            newest = connection.execute(sa.select(sa.func.max(event.c.id))).scalar() or 0
            details = connection.execute(
                sa.select(event.c.detail)
                .where(event.c.id > newest - _NEWEST_EVENTS, event.c.name == MEASURED)
                .order_by(event.c.id.desc())
                .limit(WINDOW * len(self._trainings))
            ).scalars()
            read = [read_detail(detail) for detail in details]
        by_digest: dict[str, list[Measurements]] = {}
        for digest, values in read:
            films = by_digest.setdefault(digest, [])
            if len(films) < WINDOW:
                films.append(values)
        return by_digest
