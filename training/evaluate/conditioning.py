"""Conditioning: does the report depend on the film, and the drawing on its prompt.

Losses: that of the true report given its own film, against another patient's film; and that of the
true film's codes given its own report, against another patient's report. Both paired differences
must be below zero.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.nets.load import LanguageModel, load_language_model
from engine.prompts import DRAW_INSTRUCTIONS, REPORT_INSTRUCTIONS
from training import encode_images, parquet
from training.evaluate.bootstrap import Figure, mean_figure
from training.instructions import IGNORED, Row, make_row
from training.progress import bar
from training.stages import Run

Floats = NDArray[np.float64]
SEED = 7
MIN_CASES = 5


@torch.no_grad()
def response_loss(model: LanguageModel, row: Row) -> float:
    """Return the mean cross-entropy [nats a token] of a row's response given its prompt."""
    logits = model.model(torch.tensor([row.input_ids])).logits[0, :-1].float()
    targets = torch.tensor(row.labels)[1:]
    loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED)
    return float(loss)


def report_loss(model: LanguageModel, codes: list[int], text: str) -> float:
    """Return the loss of a report given a film's codes."""
    prompts = model.prompts
    prompt = prompts.about_image(REPORT_INSTRUCTIONS[0], codes)
    response = [*prompts.text_ids(text), prompts.vocabulary.end_id]
    return response_loss(model, make_row(prompt, response))


def film_loss(model: LanguageModel, codes: list[int], text: str) -> float:
    """Return the loss of a film's codes given a report."""
    prompt = model.prompts.drawing(DRAW_INSTRUCTIONS[0], text)
    return response_loss(model, make_row(prompt, model.prompts.vocabulary.to_ids(codes)))


def other_patient(rows: NDArray[np.int64], patients: list[str], seed: int) -> NDArray[np.int64]:
    """Return, for each row, a row of another patient.

    Rows are grouped by patient, the groups shuffled, and each row takes the one that stands a
    largest group's length further on: no patient meets itself while none holds over half the rows.
    """
    rng = np.random.default_rng(seed)
    owners, group, sizes = np.unique(
        [patients[row] for row in rows], return_inverse=True, return_counts=True
    )
    order = np.argsort(rng.permutation(len(owners))[group], kind="stable")
    wrong = np.empty_like(rows)
    wrong[order] = rows[np.roll(order, -int(sizes.max()))]
    return wrong


def measure_losses(run: Run, limit: int) -> list[dict[str, Any]]:
    """Return, per validation film, the losses of report and film with a right and a wrong partner.

    The wrong partner of a report is another patient's film, that of a film their report.
    """
    model = load_language_model(run.run_dir)
    codes = encode_images.read(run.run_dir / "codes.npy", len(run.catalog.films))
    rows = run.reported("val")
    rows = rows[:limit] if limit else rows
    patients = [film.patient_id for film in run.catalog.films]
    wrong = other_patient(rows, patients, SEED)
    found = []
    with bar("losses", len(rows)) as progress:
        for row, other in zip(rows, wrong, strict=True):
            text, own = run.report_text(int(row)), codes[row].tolist()
            found.append(
                {
                    "image_id": run.catalog.films[row].image_id,
                    "report_right": report_loss(model, own, text),
                    "report_wrong": report_loss(model, codes[other].tolist(), text),
                    "film_right": film_loss(model, own, text),
                    "film_wrong": film_loss(model, own, run.report_text(int(other))),
                }
            )
            progress.advance(progress.task_ids[0])
    return found


def loss_figures(found: list[dict[str, Any]]) -> dict[str, Figure]:
    """Return the losses with right and wrong partners, and their paired differences."""

    def column(name: str) -> Floats:
        """One loss of every film."""
        return np.asarray([row[name] for row in found], dtype=np.float64)

    figures = {}
    for what, partner in (("report", "film"), ("film", "report")):
        right, wrong = column(f"{what}_right"), column(f"{what}_wrong")
        figures[f"{what} loss, own {partner}"] = mean_figure(right)
        figures[f"{what} loss, other patient's {partner}"] = mean_figure(wrong)
        figures[f"{what} loss, own minus other"] = mean_figure(right - wrong)
    return figures


def evaluate_conditioning(run: Run, limit: int = 0) -> dict[str, Figure]:
    """Measure both directions on the validation split; write losses, then figures."""
    output = run.run_dir / "evaluate" / "conditioning"
    output.mkdir(parents=True, exist_ok=True)
    losses = measure_losses(run, limit)
    parquet.store(losses, output / "losses.parquet")
    figures = loss_figures(losses)
    films = sorted({run.catalog.films[row].source for row in run.reported("val")})
    stored = {"dataset": f"{', '.join(films)}: val split, frontal films with a report"}
    values = stored | {name: asdict(figure) for name, figure in figures.items()}
    text = json.dumps(values, indent=1)
    (output / "metrics.json").write_text(text + "\n", encoding="utf-8")
    return figures
