"""Candidate reports: what a tuned model writes about its training films when it is left to chance.

As CheXalign does (arXiv 2410.07025, section 3.1): a few samples a study at temperature 1. Films are
worked on side by side, so that the engine steps their reports together; the samples of one film
follow each other and share its prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.pipeline import MAX_REPORT_TOKENS, Engine
from engine.sampling import Sampling
from training.config import PreferencesSection
from training.preferences.prompted import Prompted, prompted
from training.side_by_side import side_by_side
from training.stages import Run
from training.vqa.phrasings import digest

SEEDS = 2**32


@dataclass(frozen=True)
class Candidates(Prompted):
    """What a model wrote about one film, and what a radiologist wrote.

    ``ended`` tells of each text whether the model ended it itself.
    """

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
        prompt = prompted(film, self.engine.context(image))
        return Candidates(*prompt, self.run.report_text(row), texts, ended)

    def each(self, rows: Sequence[int]) -> Iterator[Candidates]:
        """Yield the samples of films in order, as many films at work as the engine takes."""
        yield from side_by_side(self.candidates, rows, self.engine.backend.max_batch)
