"""Two reports that cost nothing, which a model must beat to have learned anything.

The most frequent normal report ignores the film; the nearest neighbour copies the report of the
training film whose classifier features are most alike.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from engine.nets.load import load_classifier
from training.catalog import Film
from training.evaluate.judge import Floats, judge
from training.sections import Report
from training.stages import Run

MOST_FREQUENT, NEAREST = "most frequent normal report", "nearest neighbour"


def most_frequent_normal(films: list[Film]) -> Report:
    """Return the commonest findings and the commonest impression among normal reports."""
    normal = [film for film in films if film.has_report and not film.present]
    sections = ("findings", "impression")
    found = [Counter(getattr(f, name) for f in normal if getattr(f, name)) for name in sections]
    return Report(*(counts.most_common(1)[0][0] if counts else "" for counts in found))


def unit_rows(features: Floats) -> Floats:
    """Scale each row to unit length."""
    scaled: Floats = features / np.linalg.norm(features, axis=1, keepdims=True)
    return scaled


def neighbours(run: Run, rows: np.ndarray) -> list[Report]:
    """Return the report of the nearest training film (cosine of features) for each row."""
    classifier, known = load_classifier(run.run_dir), run.reported("train")
    ours = unit_rows(judge(classifier, np.asarray(run.images[rows])).features)
    theirs = unit_rows(judge(classifier, np.asarray(run.images[known])).features)
    picked = known[(ours @ theirs.T).argmax(1)]
    films = [run.catalog.films[row] for row in picked]
    return [Report(film.findings, film.impression) for film in films]
