"""Fit the film classifier: view, turn, inversion and findings in one pass.

A step mixes clean films, films turned or inverted on purpose, and distractors that are no films.
Findings are learned from upright films only, with a loss on stated labels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from torch import Tensor
from torch.nn import functional as F

from engine.findings import FINDINGS
from engine.guard import TURNS, VIEWS
from engine.nets.checkpoints import Checkpoint
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import CLASSIFIER
from training import checkpoints, device, loop, order, published
from training.catalog import Film
from training.config import ClassifierSection, Recipe
from training.distractors import distractor
from training.losses import masked_bce

OTHER_SHARE = 0.12
SPOILT_SHARE = 0.2
MAX_TILT, MAX_ZOOM, MAX_SHIFT = 8.0, 0.12, 12.0
WARMUP_STEPS = 100
OTHER = VIEWS.index("other")


@dataclass(frozen=True)
class FilmBatch:
    """Films [B, 1, 256, 256] with the truth for each question; NaN findings carry no loss."""

    images: Tensor
    view: Tensor
    turn: Tensor
    inverted: Tensor
    findings: Tensor

    def to(self, where: torch.device) -> FilmBatch:
        """Return the batch on a device."""
        return FilmBatch(*(getattr(self, field.name).to(where) for field in fields(self)))


def label_matrix(films: list[Film], settings: ClassifierSection) -> NDArray[np.float32]:
    """Return labels [N, 14]: 1, 0, NaN where nothing is known.

    A report that does not mention a finding says nothing, or says that it is absent, as the
    recipe has it; so for a finding that it calls possible.
    """
    silence = 0.0 if settings.unmentioned == "absent" else np.nan
    doubt = 1.0 if settings.uncertain == "present" else np.nan
    labels = np.full((len(films), len(FINDINGS)), np.nan, dtype=np.float32)
    for row, film in enumerate(films):
        unsaid = silence if film.has_report else np.nan
        meaning = {None: unsaid, -1.0: doubt, 0.0: 0.0, 1.0: 1.0}
        if any(value is not None for value in film.labels):
            labels[row] = [meaning[value] for value in film.labels]
    return labels


def jitter(rng: np.random.Generator, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vary brightness, and turn, scale and shift a little, as detectors and radiographers do."""
    angle = np.deg2rad(rng.uniform(-MAX_TILT, MAX_TILT))
    scale = float(np.exp(rng.uniform(-MAX_ZOOM, MAX_ZOOM)))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = (np.array(film.shape) - 1) / 2
    offset = centre - turned @ centre + rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    moved = affine_transform(film.astype(np.float32), turned, offset, order=1, mode="nearest")
    gamma = float(np.exp(rng.normal(0, 0.25)))
    return (255.0 * (moved.clip(0, 255) / 255.0) ** gamma).astype(np.uint8)


def spoil(rng: np.random.Generator, film: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, bool]:
    """Turn and invert a film at random; return it with what was done."""
    if rng.random() > SPOILT_SHARE:
        return film, 0, False
    turn = int(rng.integers(len(TURNS)))
    inverted = bool(rng.random() < 0.5)
    turned = np.rot90(film, turn)
    return (255 - turned if inverted else turned), turn, inverted


def make_batch(
    images: NDArray[np.uint8],
    films: list[Film],
    labels: NDArray[np.float32],
    rows: order.Rows,
    rng: np.random.Generator,
) -> FilmBatch:
    """Build one training batch from catalog rows."""
    pixels, views, turns, inverted = [], [], [], []
    known = labels[rows].copy()
    for position, row in enumerate(rows):
        film = jitter(rng, images[row])
        if rng.random() < OTHER_SHARE:
            film, view, turn, inverse = distractor(rng, film), OTHER, 0, False
        else:
            view = VIEWS.index(films[row].view)
            film, turn, inverse = spoil(rng, film)
        if view == OTHER or turn or inverse:
            known[position] = np.nan
        pixels.append(film)
        views.append(view)
        turns.append(turn)
        inverted.append(inverse)
    return FilmBatch(
        film_tensor(np.stack(pixels)),
        torch.tensor(views),
        torch.tensor(turns),
        torch.tensor(inverted, dtype=torch.float32),
        torch.from_numpy(known),
    )


def losses(classifier: FilmClassifier, batch: FilmBatch, where: torch.device) -> dict[str, Tensor]:
    """Return the loss of each question; turn and inversion are asked of real films only."""
    batch = batch.to(where)
    with device.autocast(where, "bf16"):
        found = classifier(batch.images)
    real = batch.view != OTHER
    return {
        "view": F.cross_entropy(found["view"].float(), batch.view),
        "turn": F.cross_entropy(found["turn"].float()[real], batch.turn[real]),
        "inverted": F.binary_cross_entropy_with_logits(
            found["inverted"].float()[real], batch.inverted[real]
        ),
        "findings": masked_bce(found["findings"].float(), batch.findings),
    }


def fresh_classifier(settings: ClassifierSection) -> FilmClassifier:
    """Return a classifier as training starts it: random, or on published weights."""
    made = FilmClassifier(settings.backbone)
    if settings.weights is not None:
        made.backbone.load_published(published.read(settings.weights, settings.weights_sha256))
    return made


class ClassifierLoop:
    """One AdamW run over the training films."""

    def __init__(self, recipe: Recipe, films: list[Film], images: NDArray[np.uint8]) -> None:
        self.recipe, self.films, self.images = recipe, films, images
        self.labels = label_matrix(films, recipe.classifier)
        self.train_rows = np.flatnonzero([film.split == "train" for film in films])
        torch.manual_seed(recipe.seed)
        self.device = device.best()
        fresh = device.channels_last(fresh_classifier(recipe.classifier), self.device)
        self.classifier = fresh.train()
        self.optimizer = torch.optim.AdamW(
            self.classifier.parameters(), weight_decay=recipe.classifier.weight_decay
        )

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return weights and optimizer state."""
        return {
            "model": dict(self.classifier.state_dict()),
            "optimizer": checkpoints.flatten_optimizer(self.optimizer),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up weights and optimizer state."""
        self.classifier.load_state_dict(checkpoint.part("model"))
        checkpoints.restore_optimizer(self.optimizer, checkpoint.part("optimizer"))

    def step(self, step: int) -> dict[str, float]:
        """Do one step on a batch that depends on nothing but seed and step."""
        settings = self.recipe.classifier
        picks = order.batch_rows(len(self.train_rows), settings.batch_size, self.recipe.seed, step)
        rng = np.random.default_rng([self.recipe.seed, step])
        batch = make_batch(self.images, self.films, self.labels, self.train_rows[picks], rng)
        factor = loop.cosine(step, settings.steps, warmup=WARMUP_STEPS, floor=0.01)
        loop.set_learning_rate(self.optimizer, settings.learning_rate * factor)
        parts = losses(self.classifier, batch, self.device)
        self.optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.classifier.parameters(), 1.0)
        self.optimizer.step()
        return {name: value.item() for name, value in parts.items()}


def train(
    recipe: Recipe,
    films: list[Film],
    images: NDArray[np.uint8],
    run_dir: Path,
    stamp: dict[str, Any],
) -> None:
    """Fit the classifier of a recipe, resuming where a run was killed."""
    settings = recipe.classifier
    fit = ClassifierLoop(recipe, films, images)
    loop.run(fit, run_dir, CLASSIFIER, settings.steps, settings.checkpoint_every, stamp)
