"""Candidate reports: what a tuned model writes about its training films when it is left to chance.

As CheXalign does (arXiv 2410.07025, section 3.1): a few samples a study at temperature 1. Films are
worked on side by side, so that the engine steps their reports together; the samples of one film
follow each other and share its prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.pipeline import MAX_REPORT_TOKENS, Engine
from engine.prompts import REPORT_INSTRUCTIONS
from engine.results import Image
from engine.sampling import Sampling
from training.catalog import Film
from training.config import PreferencesSection
from training.side_by_side import side_by_side
from training.stages import Run
from training.vqa.phrasings import digest

SEEDS = 2**32


@dataclass(frozen=True)
class Candidates:
    """What a model wrote about one film, and what a radiologist wrote.

    ``instruction`` and ``context`` are the prompt's words: with the film they make the same prompt
    under any tokenizer. ``ended`` tells of each text whether the model ended it itself.
    """

    image_id: str
    study_id: str
    patient_id: str
    instruction: str
    context: str
    reference: str
    texts: list[str] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)


def seed_of(image_id: str, number: int, seed: int) -> int:
    """Return the seed of one sample: its own, and the same in every run."""
    return digest(image_id, str(number), str(seed)) % SEEDS


@dataclass(frozen=True)
class Sampler:
    """Lets an engine write about the films of a run."""

    run: Run
    engine: Engine
    settings: PreferencesSection

    def candidates(self, row: int) -> Candidates:
        """Return the samples of one film."""
        film, image = self.run.catalog.films[row], self.run.film(row)
        sampling = Sampling(self.settings.temperature, self.settings.top_p)
        seeds = [
            seed_of(film.image_id, n, self.run.recipe.seed)
            for n in range(self.settings.num_samples)
        ]
        drafts = [self.engine.sample(image, seed=seed, sampling=sampling) for seed in seeds]
        texts = [draft.text for draft in drafts]
        ended = [draft.provenance.num_tokens < MAX_REPORT_TOKENS for draft in drafts]
        return self.described(film, image, row, texts, ended)

    def described(
        self, film: Film, image: Image, row: int, texts: list[str], ended: list[bool]
    ) -> Candidates:
        """Return texts with the prompt and the reference that they belong to."""
        return Candidates(
            film.image_id,
            film.study_id,
            film.patient_id,
            REPORT_INSTRUCTIONS[0],
            self.engine.context(image),
            self.run.report_text(row),
            texts,
            ended,
        )

    def each(self, rows: Sequence[int]) -> Iterator[Candidates]:
        """Yield the samples of films in order, as many films at work as the engine takes."""
        yield from side_by_side(self.candidates, rows, self.engine.backend.max_batch)
