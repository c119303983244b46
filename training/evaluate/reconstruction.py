"""What the tokenizer keeps: PSNR, SSIM, codebook use, and what the judge still sees.

The last is the one that matters: a tokenizer that smooths a nodule away has a fine PSNR. Each
tokenizer of the table is judged on the same films by the same classifier, so that two runs, one
with the clinical loss and one without, make an ablation.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import load_classifier, load_tokenizer
from engine.nets.vqgan import Vqgan
from training.classifier import label_matrix
from training.evaluate.bootstrap import Figure, bootstrap, mean_figure
from training.evaluate.judge import Judgement, judge, mean_auroc
from training.evaluate.similarity import psnr, ssim
from training.progress import bar
from training.stages import Run

BATCH = 16
GRID_FILMS = 6
NUM_RESAMPLES = 300
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


@torch.no_grad()
def decoded(model: Vqgan, codes: torch.Tensor) -> Bytes:
    """Codes [B, 256] -> films uint8 [B, 256, 256]."""
    pixels = model.decode(codes).mean(1).add(1).mul(127.5).round().clamp(0, 255)
    return pixels.to(torch.uint8).numpy()


@torch.no_grad()
def reconstruct(model: Vqgan, films: Bytes) -> tuple[Bytes, Rows]:
    """Return films uint8 [N, 256, 256] after their passage through codes, and the codes."""
    drawn, codes = [], []
    with bar("reconstruct", len(films)) as progress:
        for start in range(0, len(films), BATCH):
            batch = film_tensor(np.asarray(films[start : start + BATCH]))
            found = model.encode(batch.expand(-1, model.config.in_channels, -1, -1))
            drawn.append(decoded(model, found))
            codes.append(found.numpy())
            progress.advance(progress.task_ids[0], len(batch))
    return np.concatenate(drawn), np.concatenate(codes)


def codebook_use(codes: Rows, num_codes: int) -> tuple[float, float]:
    """Return the share of the codebook in use and its perplexity."""
    counts = np.bincount(codes.ravel(), minlength=num_codes)
    share = counts[counts > 0] / counts.sum()
    return float((counts > 0).mean()), float(np.exp(-(share * np.log(share)).sum()))


def unit(films: Bytes) -> torch.Tensor:
    """uint8 [N, H, W] -> float32 [N, 1, H, W] in [0, 1]."""
    return torch.from_numpy(films[:, None].astype(np.float32) / 255)


def auroc_loss(labels: NDArray[np.float64], real: Judgement, made: Judgement) -> Figure:
    """Return the judge's mean AUROC on originals minus that on reconstructions."""

    def lost(picks: Rows) -> float:
        return mean_auroc(labels[picks], real.chances[picks]) - mean_auroc(
            labels[picks], made.chances[picks]
        )

    return bootstrap(len(labels), lost, num_resamples=NUM_RESAMPLES)


def measure(
    model: Vqgan, films: Bytes, labels: NDArray[np.float64], real: Judgement, by: FilmClassifier
) -> tuple[dict[str, Figure], Bytes]:
    """Return a tokenizer's figures and its reconstructions."""
    made, codes = reconstruct(model, films)
    again = judge(by, made)
    use, perplexity = codebook_use(codes, model.config.num_codes)
    noise = psnr(unit(made), unit(films)).double().numpy()
    shape = ssim(unit(made), unit(films)).double().numpy()
    gap = np.square(again.features - real.features).sum(1)
    count = len(films)
    means = {"psnr_db": noise, "ssim": shape, "clinical_distance": gap}
    figures = {name: mean_figure(values) for name, values in means.items()}
    figures["codebook_use"] = Figure(use, use, use, count)
    figures["codebook_perplexity"] = Figure(perplexity, perplexity, perplexity, count)
    figures["auroc_original"] = bootstrap(
        count,
        lambda picks: mean_auroc(labels[picks], real.chances[picks]),
        num_resamples=NUM_RESAMPLES,
    )
    figures["auroc_loss"] = auroc_loss(labels, real, again)
    return figures, made


def draw_grid(rows: dict[str, Bytes], path: Path) -> None:
    """Write films [N, 256, 256] of each name as rows of one picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [np.concatenate(list(films[:GRID_FILMS]), axis=1) for films in rows.values()]
    Picture.fromarray(np.concatenate(lines, axis=0)).save(path)


def evaluate_tokenizers(
    run: Run, others: list[Path], limit: int = 0
) -> dict[str, dict[str, Figure]]:
    """Measure the tokenizer of a run and of others on the run's frontal val films.

    Writes ``RUN/evaluate/tokenizer/metrics.json`` and ``grid.png`` (originals in the first row).
    """
    rows = run.frontal("val")[: limit or None]
    films = np.asarray(run.images[rows])
    labels = label_matrix([run.catalog.films[row] for row in rows], run.recipe.classifier)
    classifier = load_classifier(run.run_dir)
    real = judge(classifier, films)
    tables: dict[str, dict[str, Figure]] = {}
    pictures = {"original": films}
    for run_dir in (run.run_dir, *others):
        model = load_tokenizer(run_dir)
        figures, made = measure(model, films, labels.astype(np.float64), real, classifier)
        name = run_dir.name if run_dir.name not in tables else str(run_dir)
        tables[name], pictures[name] = figures, made
    target = run.run_dir / "evaluate" / "tokenizer"
    draw_grid(pictures, target / "grid.png")
    values = {name: {k: asdict(f) for k, f in found.items()} for name, found in tables.items()}
    (target / "metrics.json").write_text(json.dumps(values, indent=1))
    return tables
