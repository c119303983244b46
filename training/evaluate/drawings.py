"""Drawn films: do they show what their prompt says, do they look real, are they copies.

The first by the protocol of Table 4 of arXiv 2305.11490, with prompts shuffled among the drawings
as a control that a judge of base rates alone would pass. The second by the Fréchet distance of the
judge's features, with real films of the same number as its floor. The third by the nearest training
film, against how near real films come to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from engine.nets.classifier import FilmClassifier
from engine.nets.load import hint_thresholds, load_classifier, load_tokenizer
from engine.nets.vqgan import Vqgan
from engine.pipeline import Engine
from training import parquet
from training.evaluate.bootstrap import Figure, bootstrap
from training.evaluate.figure_table import store
from training.evaluate.judge import Judgement, averaged, judge, referenced
from training.evaluate.reconstruction import decoded, draw_grid, unit
from training.evaluate.similarity import frechet, ssim
from training.progress import bar
from training.side_by_side import side_by_side
from training.stages import Run

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
SEED = 7
NUM_RESAMPLES = 300
DECODED = 16
NEAR_QUANTILE = 0.01
PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Nearest:
    """For each of N films its nearest training film: row, feature distance and SSIM."""

    rows: Rows
    distance: Floats
    likeness: Floats


def draw_predictions(run: Run, engine: Engine, count: int, path: Path) -> None:
    """Draw the films of val reports and write prompt, seed and codes of each as Parquet."""
    rows = balanced(run, run.reported("val"), count)
    found = []

    def drawn(row: int) -> dict[str, Any]:
        text, film = run.report_text(row), run.catalog.films[row]
        return {
            "image_id": film.image_id, "patient_id": film.patient_id, "row": row,
            "prompt": text, "seed": row, "codes": list(engine.draw(text, seed=row).codes),
        }  # fmt: skip

    # guided drawings take two sequences each
    width = max(1, engine.backend.max_batch // 2)
    with bar("drawings", len(rows)) as progress:
        for one in side_by_side(drawn, rows.tolist(), width):
            found.append(one)
            progress.advance(progress.task_ids[0])
    parquet.store(found, path)


def balanced(run: Run, rows: Rows, count: int) -> Rows:
    """Return ``count`` rows, half of them with a finding, in a fixed random order."""
    abnormal = np.asarray([bool(run.catalog.films[row].present) for row in rows])
    rng = np.random.default_rng(SEED)
    sick, well = rng.permutation(rows[abnormal]), rng.permutation(rows[~abnormal])
    half = min(len(sick), count // 2)
    return rng.permutation(np.concatenate([sick[:half], well[: count - half]]))


def decode_all(model: Vqgan, codes: Rows) -> Bytes:
    """Codes [N, 256] -> films uint8 [N, 256, 256]."""
    batches = (codes[s : s + DECODED] for s in range(0, len(codes), DECODED))
    return np.concatenate([decoded(model, torch.from_numpy(batch)) for batch in batches])


def nearest(found: Judgement, films: Bytes, known: Judgement, known_films: Bytes) -> Nearest:
    """Find each film's nearest among known films by features, and its SSIM with that one."""
    gaps = torch.cdist(torch.from_numpy(found.features), torch.from_numpy(known.features))
    distance, rows = gaps.min(1)
    picked = np.asarray(known_films[rows.numpy()])
    likeness = ssim(unit(films), unit(picked)).double().numpy()
    return Nearest(rows.numpy(), distance.numpy(), likeness)


def copied(made: Nearest, real: Nearest) -> NDArray[np.bool_]:
    """Tell which made films are copies: nearer and more alike than real films ever are.

    Nearer than 1 % of the real val films are to the training films, and more alike than 99 %.
    """
    near = np.quantile(real.distance, NEAR_QUANTILE)
    alike = np.quantile(real.likeness, 1 - NEAR_QUANTILE)
    return (made.distance < near) & (made.likeness > alike)


def agreement(
    labels: Rows, chances: Floats, thresholds: dict[str, float], prefix: str
) -> dict[str, Figure]:
    """Return AUROC and F1 of judged drawings against the labels of the real films."""
    names = averaged(labels, chances, thresholds)
    drawn: dict[bytes, dict[str, float]] = {}

    def figure(name: str) -> Figure:
        def value(picks: Rows) -> float:
            # every figure meets the same resamples, and one pass over a resample gives them all
            key = picks.tobytes()
            if key not in drawn:
                drawn[key] = averaged(labels[picks], chances[picks], thresholds)
            return drawn[key].get(name, float("nan"))

        return bootstrap(len(labels), value, num_resamples=NUM_RESAMPLES)

    return {f"{prefix}{name}": figure(name) for name in names}


def evaluate_drawings(run: Run, bundle_dir: Path | None, count: int) -> dict[str, Figure]:
    """Draw, judge and compare; writes predictions, then figures and a grid of drawings."""
    output = run.run_dir / "evaluate" / "drawings"
    draw_predictions(run, Engine.load(bundle_dir), count, output / PREDICTIONS)
    table = pq.read_table(output / PREDICTIONS)
    rows = np.asarray(table["row"].to_pylist(), np.int64)
    made = decode_all(load_tokenizer(run.run_dir), np.asarray(table["codes"].to_pylist(), np.int64))
    figures = compare(run, load_classifier(run.run_dir), rows, made)
    draw_grid({"real": np.asarray(run.images[rows]), "drawn": made}, output / "grid.png")
    store(figures, output)
    return figures


def compare(run: Run, classifier: FilmClassifier, rows: Rows, made: Bytes) -> dict[str, Figure]:
    """Return every figure of drawn films ``made`` against the real films ``rows``."""
    films, known_films = np.asarray(run.images[rows]), np.asarray(run.images[run.reported("train")])
    real, drawn, known = (judge(classifier, x) for x in (films, made, known_films))
    thresholds = hint_thresholds(run.run_dir)
    labels = referenced(real.chances, thresholds)
    shuffled = np.random.default_rng(SEED).permutation(len(rows))
    figures = agreement(labels, drawn.chances, thresholds, "")
    figures |= agreement(labels, drawn.chances[shuffled], thresholds, "shuffled_")
    copies = copied(
        nearest(drawn, made, known, known_films), nearest(real, films, known, known_films)
    )
    peers = np.random.default_rng(SEED).choice(len(known_films), len(rows), replace=False)
    plain = {
        "frechet_drawn": frechet(drawn.features, real.features),
        "frechet_real_floor": frechet(known.features[peers], real.features),
        "memorised": float(copies.sum()),
    }
    return figures | {n: Figure(v, float("nan"), float("nan"), len(rows)) for n, v in plain.items()}
