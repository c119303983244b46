"""One alignment of a run, wired: start, preferences and films to watch from the run directory.

``RUN/align/NAME/`` gets checkpoints and log; ``cxr-export bundle --stage align/NAME`` takes it up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine import hints
from engine.findings import FINDINGS
from engine.nets.classifier import film_tensor
from engine.nets.load import LanguageModel, hint_thresholds, load_classifier, load_language_model
from engine.prompts import REPORT_INSTRUCTIONS
from training import base, encode_images
from training.align import train
from training.align.methods import METHODS
from training.align.trees import TreeBuilder, read_trees
from training.align.watch import Watch, Watched
from training.evaluate.reports import one_a_study
from training.stages import Run
from training.vqa.phrasings import digest

Codes = NDArray[np.int16]
FOLDER, START = "align", "start.json"


@dataclass(frozen=True)
class Alignment:
    """A run, the preferences that it is tuned on, and the name of what comes of it."""

    run: Run
    preferences: Path
    name: str

    @property
    def stage(self) -> str:
        """The stage of the run that is written."""
        return f"{FOLDER}/{self.name}"

    @cached_property
    def start(self) -> LanguageModel:
        """The tuned model that alignment starts from, and that is its reference."""
        return load_language_model(self.run.run_dir)

    def learn(self) -> None:
        """Tune, resuming where a run was killed."""
        torch.manual_seed(self.run.recipe.seed)
        start, settings = self.start, self.run.recipe.align
        films = self.run.catalog.films
        codes = encode_images.read(self.run.run_dir / "codes.npy", len(films))
        rows = {film.image_id: row for row, film in enumerate(films)}
        builder = TreeBuilder(start.prompts, codes, rows, settings.max_length)
        trees = read_trees(builder, METHODS[settings.method], self.preferences)
        watch = self.watch(codes) if settings.watch else None
        if watch is not None:
            self.note_start(watch)
        model = base.BaseModel(
            start.model.requires_grad_(True), start.prompts.tokenizer, start.prompts.vocabulary
        )
        stamp = {
            **self.run.stamp,
            "instructions": start.values.get("instructions"),
            "alignment": settings.model_dump(mode="json"),
        }
        train.align(self.run.recipe, model, trees, self.run.run_dir, self.stage, stamp, watch)

    def watch(self, codes: Codes) -> Watch:
        """Return who looks at the policy while it is tuned."""
        run = self.run
        return Watch.of(
            self.watched(codes),
            self.start.prompts,
            run.recipe.precision,
            self.start.model,
            run.run_dir / FOLDER,
        )

    def watched(self, codes: Codes) -> Watched:
        """Return the validation films to look at, an order of hashes, with their prompts."""
        run, films = self.run, self.run.catalog.films
        rows = one_a_study(films, run.reported("val")).tolist()
        rows = sorted(rows, key=lambda row: digest(films[row].image_id, FOLDER))
        rows = rows[: run.recipe.align.watch]
        prompts = [
            self.start.prompts.about_image(REPORT_INSTRUCTIONS[0], codes[row].tolist(), context)
            for row, context in zip(rows, self.contexts(rows), strict=True)
        ]
        return Watched(prompts, [run.report_text(row) for row in rows])

    def contexts(self, rows: list[int]) -> list[str]:
        """Return the prompt's line of likely findings of each film, as the engine makes it."""
        thresholds = hint_thresholds(self.run.run_dir)
        if not thresholds:
            return [""] * len(rows)
        classifier = load_classifier(self.run.run_dir)
        with torch.no_grad():
            seen = classifier(film_tensor(np.asarray(self.run.images[rows])))["findings"].sigmoid()
        return [
            hints.line(hints.likely(dict(zip(FINDINGS, own, strict=True)), thresholds))
            for own in seen.tolist()
        ]

    def note_start(self, watch: Watch) -> None:
        """Write down what the start is like on the films that are watched."""
        path = self.run.run_dir / self.stage / START
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(watch.at_start(), indent=1) + "\n", encoding="utf-8")
