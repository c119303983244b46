"""The stages of a run, wired: what each reads from the run directory and what it leaves there.

``catalog`` writes ``catalog.parquet`` and ``images.npy``; ``classifier`` and ``tokenizer`` their
checkpoints; ``encode`` ``codes.npy``; ``sft`` the language model. Each can be killed and started
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.nets.load import load_classifier, load_tokenizer
from engine.prompts import PromptBuilder
from training import (
    base,
    classifier,
    encode_images,
    findings_head,
    finetune,
    provenance,
    tokenizer_train,
)
from training import catalog as catalogs
from training.config import Recipe
from training.instructions import RowBuilder
from training.mixture import Mixture
from training.sections import Report


@dataclass(frozen=True)
class Run:
    """A run directory with its recipe."""

    recipe: Recipe
    run_dir: Path

    @cached_property
    def catalog(self) -> catalogs.Catalog:
        """The films of the run."""
        return catalogs.read(self.run_dir / "catalog.parquet")

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """The films' pixels, uint8 [N, 256, 256], mapped from disk."""
        return catalogs.read_images(self.run_dir / "images.npy")

    @cached_property
    def stamp(self) -> dict[str, Any]:
        """The provenance record of the run."""
        return provenance.stamp(self.recipe, self.catalog.digest())

    def reported(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the rows of frontal films with a report, of one split or of all."""
        films = self.catalog.films
        return np.flatnonzero(
            [f.view == "frontal" and f.has_report and split in (None, f.split) for f in films]
        )

    def frontal(self, split: str) -> NDArray[np.int64]:
        """Return the rows of all frontal films of a split."""
        films = self.catalog.films
        return np.flatnonzero([f.view == "frontal" and f.split == split for f in films])

    def report_text(self, row: int) -> str:
        """Return the cleaned report of a film."""
        film = self.catalog.films[row]
        return Report(film.findings, film.impression).text

    def make_catalog(self, films_dir: Path) -> catalogs.Catalog:
        """Build and write catalog and pixel array."""
        made = catalogs.build(films_dir)
        catalogs.write(made, self.run_dir / "catalog.parquet")
        transform = self.recipe.transform.build()
        catalogs.write_images(made.films, transform, self.run_dir / "images.npy")
        return made

    def train_classifier(self) -> None:
        """Fit the film classifier."""
        classifier.train(self.recipe, self.catalog.films, self.images, self.run_dir, self.stamp)

    def fit_findings(self) -> None:
        """Refit the findings head of the classifier on what it sees of the frontal films."""
        findings_head.fit(
            load_classifier(self.run_dir), self.catalog.films, self.images, self.run_dir, self.stamp
        )

    def train_tokenizer(self) -> None:
        """Fit the VQ-GAN, with the classifier's features as perceptual distance."""
        features = load_classifier(self.run_dir)
        tokenizer_train.train(
            self.recipe, self.catalog.films, self.images, features, self.run_dir, self.stamp
        )

    def encode(self) -> NDArray[np.int16]:
        """Encode every film that has a report."""
        model = load_tokenizer(self.run_dir)
        path = self.run_dir / "codes.npy"
        return encode_images.encode(model, self.images, self.reported(), path)

    def train_language_model(self, base_dir: Path | None) -> None:
        """Tune the language model."""
        codes = encode_images.read(self.run_dir / "codes.npy", len(self.catalog.films))
        rows = self.reported("train")
        texts = [self.report_text(int(row)) for row in rows]
        codebook = load_tokenizer(self.run_dir).quantize.embedding.weight
        settings = self.recipe.sft
        torch.manual_seed(self.recipe.seed)
        prepared = base.prepare(settings, base_dir, texts, codebook)
        prompts = PromptBuilder(prepared.tokenizer, prepared.vocabulary, settings.prompt_version)
        builder = RowBuilder(prompts, self.catalog.films, codes, settings.drop_prompt)
        mixture = Mixture(builder, settings.mixture, rows, self.recipe.seed, settings.rows_per_line)
        finetune.train(self.recipe, prepared, mixture, self.run_dir, self.stamp)
