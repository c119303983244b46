"""Which prompt a preference is about: the film's identity and the words beside the film."""

from __future__ import annotations

from dataclasses import dataclass

from engine.prompts import REPORT_INSTRUCTIONS
from training.catalog import Film

Prompt = tuple[str, str, str, str, str]
"""Image, study, patient, instruction and context: the first fields of every row."""


@dataclass(frozen=True)
class Prompted:
    """A row about one prompt.

    ``instruction`` and ``context`` are the prompt's words: with the film they make the same prompt
    under any tokenizer.
    """

    image_id: str
    study_id: str
    patient_id: str
    instruction: str
    context: str

    @property
    def prompt(self) -> Prompt:
        """What names the prompt."""
        return self.image_id, self.study_id, self.patient_id, self.instruction, self.context


def prompted(film: Film, context: str) -> Prompt:
    """Return the prompt of a report on a film."""
    return film.image_id, film.study_id, film.patient_id, REPORT_INSTRUCTIONS[0], context
