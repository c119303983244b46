"""Instruction rows: what the language model is shown, and which of it carries loss.

A row is a prompt and a response; only the response is learned (arXiv 2305.11490, section 3.3), its
end mark included. Four tasks: report from film, film from report, question on a film, text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.findings import FINDINGS
from engine.prompts import DRAW_INSTRUCTIONS, REPORT_INSTRUCTIONS, PromptBuilder
from training.catalog import Film
from training.glossary import GLOSSARY
from training.sections import Report

IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One training row: token ids and, of the same length, labels (-100: no loss)."""

    input_ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.input_ids)


def make_row(prompt: Sequence[int], response: Sequence[int]) -> Row:
    """Join prompt and response; the prompt carries no loss."""
    return Row([*prompt, *response], [IGNORED] * len(prompt) + list(response))


@dataclass(frozen=True)
class RowBuilder:
    """Builds rows of every task for films whose codes are known."""

    prompts: PromptBuilder
    films: list[Film]
    codes: NDArray[np.int16]
    drop_prompt: float = 0.0

    def report(self, film: int, rng: np.random.Generator) -> Row:
        """Film -> its report."""
        instruction = str(rng.choice(REPORT_INSTRUCTIONS))
        prompt = self.prompts.about_image(instruction, self.codes[film].tolist())
        return make_row(prompt, self.spoken(self.text_of(film)))

    def draw(self, film: int, rng: np.random.Generator) -> Row:
        """Report -> its film; now and then without the report, for guidance at inference."""
        instruction = str(rng.choice(DRAW_INSTRUCTIONS))
        text = "" if rng.random() < self.drop_prompt else self.text_of(film)
        prompt = self.prompts.about_text(instruction, text)
        image = self.prompts.vocabulary.image(self.codes[film].tolist())
        return make_row(prompt, [*image, self.prompts.vocabulary.end_id])

    def question(self, film: int, rng: np.random.Generator) -> Row:
        """Question on a film -> the answer that its labels give."""
        known = [i for i, v in enumerate(self.films[film].labels) if v in (0.0, 1.0) and i > 0]
        if not known:
            return self.report(film, rng)
        present = [i for i in known if self.films[film].labels[i] == 1.0]
        pool = present if present and rng.random() < 0.5 else known
        index = int(rng.choice(pool))
        name = FINDINGS[index].lower()
        answer = presence_answer(name, self.films[film].labels[index] == 1.0)
        prompt = self.prompts.about_image(f"Does the film show {name}?", self.codes[film].tolist())
        return make_row(prompt, self.spoken(answer))

    def text(self, film: int, rng: np.random.Generator) -> Row:
        """Text alone: an impression from findings, or an entry of the glossary."""
        case = self.films[film]
        if case.findings and case.impression and rng.random() < 0.6:
            prompt = self.prompts.about_text(
                "Write the impression that follows from these findings.", case.findings
            )
            return make_row(prompt, self.spoken(case.impression))
        term, meaning = GLOSSARY[int(rng.integers(len(GLOSSARY)))]
        prompt = self.prompts.about_text(f"Explain the term {term} in one sentence.")
        return make_row(prompt, self.spoken(meaning))

    def spoken(self, text: str) -> list[int]:
        """Return the ids of a text answer with its end mark."""
        return [*self.prompts.text_ids(text), self.prompts.vocabulary.end_id]

    def text_of(self, film: int) -> str:
        """Return the cleaned report of a film."""
        case = self.films[film]
        return Report(case.findings, case.impression).text

    def tasks(self) -> dict[str, Callable[[int, np.random.Generator], Row]]:
        """Return the tasks that a mixture may name."""
        return {
            "report": self.report,
            "draw": self.draw,
            "vqa": self.question,
            "text": self.text,
        }


def presence_answer(name: str, present: bool) -> str:
    """Return the sentence that answers a question on presence."""
    return f"Yes, there is {name}." if present else f"No, there is no {name}."
