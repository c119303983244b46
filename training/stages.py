"""The stages of a run, wired: what each reads from the run directory and what it leaves there.

``catalog`` writes ``catalog.parquet`` and ``images.npy``; ``classifier`` and ``tokenizer`` their
checkpoints; ``encode`` ``codes.npy``; ``vqa`` and ``instructions`` their tables; ``sft`` the
language model. Each can be killed and started again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.nets.classifier import film_tensor
from engine.nets.load import (
    LANGUAGE_MODELS,
    SFT,
    TOKENIZER,
    TOKENIZER_FILE,
    TUNINGS,
    last_of,
    load_classifier,
    load_language_model,
    load_tokenizer,
)
from engine.prompts import PromptBuilder
from engine.results import Image
from engine.study_input import Beside
from training import (
    base,
    calibration,
    classifier,
    device,
    encode_images,
    finetune,
    provenance,
    texts,
    tokenizer_train,
)
from training import catalog as catalogs
from training.config import Recipe, SftSection
from training.errors import RecipeError
from training.instructions import TASKS, RowBuilder
from training.jobs.cluster import Cluster
from training.jobs.encode_job import EncodeJob
from training.jobs.vqa_job import VqaJob
from training.mixture import Mixture
from training.pools import Pool, TaskPool, pools
from training.sections import Report
from training.study_parts import Companions
from training.tasks import make as make_tasks
from training.tasks import mixtures, statistics
from training.tasks import table as task_table
from training.vqa import prompted, rules
from training.vqa import table as vqa_table


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

    def film(self, row: int) -> Image:
        """Return one film as the engine takes it, float32 [1, 256, 256] in [-1, 1]."""
        film: Image = film_tensor(self.images[row][None])[0].numpy()
        return film

    @cached_property
    def companions(self) -> Companions:
        """What the run's studies hold beside their frontal films."""
        return Companions.of(self.catalog.films)

    def beside(self, row: int, inputs: Collection[str]) -> Beside:
        """Return what a model with these inputs is given beside a frontal film."""
        found = self.companions.whole(self.catalog.films[row])
        lateral = None if found.lateral is None else self.film(found.lateral)
        given = Beside(lateral=lateral, indication=found.indication)
        given["previous_report"] = found.previous_report
        return cast(Beside, {name: value for name, value in given.items() if name in inputs})

    @cached_property
    def stamp(self) -> dict[str, Any]:
        """The provenance record of the run."""
        digest = self.catalog.digest()
        return provenance.stamp(self.recipe, digest, provenance.parent(self.run_dir))

    def taught_stamp(self) -> dict[str, Any]:
        """Return the provenance record of a language model, with what tasks and rows taught it."""
        path = self.run_dir / task_table.FILE
        return self.stamp | (task_table.provenance(path) if path.is_file() else {})

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

    def calibrate(self) -> dict[str, list[calibration.Reliability]]:
        """Calibrate the classifier's findings on the reported frontal films of val."""
        rows = self.reported("val")
        films = [self.catalog.films[row] for row in rows]
        labels = torch.from_numpy(classifier.label_matrix(films, self.recipe.classifier))
        return calibration.fit(
            load_classifier(self.run_dir), self.images, rows, labels, self.run_dir, self.stamp
        )

    def train_tokenizer(self, stage: str = TOKENIZER) -> None:
        """Fit the VQ-GAN, with the classifier's features as clinical and perceptual distance."""
        features = load_classifier(self.run_dir)
        films, images = self.catalog.films, self.images
        tokenizer_train.train(self.recipe, stage, films, images, features, self.run_dir, self.stamp)

    def encode(self, cluster: Cluster | None = None) -> NDArray[np.int16]:
        """Encode every film, in this process or on a cluster."""
        path, rows = self.run_dir / "codes.npy", np.arange(len(self.catalog.films))
        if cluster is not None:
            transform = self.recipe.transform.build()
            return EncodeJob(self.run_dir, self.catalog.films, rows, transform).run(path, cluster)
        model = load_tokenizer(self.run_dir).to(device.best())
        return encode_images.encode(model, self.images, rows, path)

    def make_questions(
        self, generator: str = "rules", model: str = "", cluster: Cluster | None = None
    ) -> vqa_table.Questions:
        """Write the table of questions, by rules or by a language model (a directory)."""
        films = self.catalog.films
        if generator == "rules":
            made = rules.generate(films)
        else:
            job = VqaJob(self.run_dir, prompted.asked_films(films), model, self.recipe.vqa)
            made = job.questions(generator, cluster)
        vqa_table.write(made, self.run_dir / "vqa.parquet")
        return made

    def tuning(self, stage: str) -> SftSection:
        """Return the settings of a stage of instruction tuning."""
        section: SftSection | None = getattr(self.recipe, stage)
        if section is None:
            raise RecipeError(f"recipe {self.recipe.name} has no {stage}", hint="leave it out")
        return section

    def before(self, stage: str) -> str | None:
        """Return the recipe's stage of instruction tuning that comes before one, if any."""
        earlier = TUNINGS[: TUNINGS.index(stage)]
        return next((name for name in reversed(earlier) if getattr(self.recipe, name)), None)

    def start_model(self, stage: str, base_dir: Path | None) -> base.BaseModel:
        """Return the model that a stage starts from: the base, or what the stage before made."""
        torch.manual_seed(self.recipe.seed)
        before = self.before(stage)
        if before is not None:
            tuned = load_language_model(self.run_dir, before)
            model = tuned.model.requires_grad_(True)
            return base.BaseModel(model, tuned.prompts.tokenizer, tuned.prompts.vocabulary)
        texts = [self.report_text(int(row)) for row in self.reported("train")]
        codebook = load_tokenizer(self.run_dir).quantize.embedding.weight
        return base.prepare(self.recipe.base, base_dir, texts, codebook)

    def mixture(self, stage: str, prompts: PromptBuilder) -> Mixture:
        """Return the stream of rows of a stage."""
        films, settings = self.catalog.films, self.tuning(stage)
        codes = encode_images.read(self.run_dir / "codes.npy", len(films))
        exchanges = texts.read(settings.text_file) if settings.text_file else texts.glossary()
        questions = self.questions() if settings.mixture.get("vqa") else {}
        taught = self.instructions() if settings.mixture.get(TASKS) else task_table.Examples([])
        known = (questions, exchanges, taught.rows, self.companions)
        builder = RowBuilder(prompts, films, codes, settings, *known)
        found: dict[str, Pool | TaskPool] = {**pools(films, settings, questions, self.recipe.seed)}
        if taught.rows:
            found[TASKS] = TaskPool.of([row.task for row in taught], taught.weights)
        return Mixture(builder, found, self.recipe.seed)

    def instructions(self) -> task_table.Examples:
        """Return the training rows of the table of instructions.

        Raises
        ------
        TaskTableError
            There is none.
        """
        read = self.instruction_table()
        rows = [row for row in read if row.split == "train"]
        return task_table.Examples(rows, read.weights)

    def instruction_table(self) -> task_table.Examples:
        """Return the table of instructions, every split."""
        return task_table.read_table(self.run_dir / task_table.FILE)

    def make_instructions(self, mixture: str) -> task_table.Examples:
        """Write the table of instructions of a mixture, its statistics beside it."""
        made = make_tasks.make(self.catalog, mixtures.load(mixture))
        found = statistics.lines(made, self.count_tokens())
        task_table.write(made, self.run_dir / task_table.FILE, {"mixture": mixture})
        statistics.store(found, made, self.run_dir / "instructions")
        return made

    def count_tokens(self) -> Callable[[str], int] | None:
        """Return what counts a text's tokens, if a stage has left its tokenizer."""
        stage = last_of(self.run_dir, *LANGUAGE_MODELS)
        path = self.run_dir / stage / TOKENIZER_FILE
        if not path.is_file():
            return None
        tokenizer = Tokenizer.from_file(str(path))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)

    def questions(self) -> dict[int, list[tuple[str, str]]]:
        """Return question and answer of the VQA table, by the film's row in the catalog."""
        places = {film.image_id: row for row, film in enumerate(self.catalog.films)}
        found: dict[int, list[tuple[str, str]]] = {}
        for asked in vqa_table.read(self.run_dir / "vqa.parquet"):
            found.setdefault(places[asked.image_id], []).append((asked.question, asked.answer))
        return found

    def train_language_model(self, base_dir: Path | None, stage: str = SFT) -> None:
        """Tune the language model: stage one from the base, each other from the one before."""
        start = self.start_model(stage, base_dir)
        version = self.recipe.base.prompt_version
        prompts = PromptBuilder(start.tokenizer, start.vocabulary, version)
        mixture = self.mixture(stage, prompts)
        finetune.train(self.recipe, start, mixture, self.run_dir, stage, self.taught_stamp())
