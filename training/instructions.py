"""Instruction rows: what the language model is shown, and which of it carries loss.

A row is a prompt and a response; only the response is learned (arXiv 2305.11490, section 3.3), its
end mark included. Four published tasks: report from film, film from report, question on a film,
text alone; a fifth that teaches what a line of likely findings means, report from such a line; and
the rows of the table of instructions (`training.tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine import hints
from engine.labeler import label
from engine.prompts import DRAW_INSTRUCTIONS, REPORT_INSTRUCTIONS, PromptBuilder
from engine.study_input import StudyInput
from engine.tasks.registry import TASKS as TASK_TABLE
from training.catalog import Film, present_in
from training.config import SftSection
from training.sections import Report
from training.study_parts import NONE, Companions
from training.tasks.table import Example
from training.texts import Exchange

IGNORED = -100
TASKS = "tasks"
"""What a mixture calls the rows of the table of instructions."""
MISSED_HINT, FALSE_HINT = 0.05, 0.005
"""How often a hint errs in training, so that the model keeps looking at the film."""


@dataclass(frozen=True)
class Row:
    """One training row: token ids and, of the same length, labels (-100: no loss).

    ``num_left_out`` counts the parts of the study that found no room in it.
    """

    input_ids: list[int]
    labels: list[int]
    num_left_out: int = 0

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.input_ids)


def make_row(prompt: Sequence[int], response: Sequence[int], num_left_out: int = 0) -> Row:
    """Join prompt and response; the prompt carries no loss."""
    labels = [IGNORED] * len(prompt) + list(response)
    return Row([*prompt, *response], labels, num_left_out)


def told(film: Film, target: str) -> str:
    """Return the text that is written from a film and that it is drawn from.

    A film without a report is described by its labels, in the words of an impression.
    """
    if not film.has_report:
        return f"Impression: {spoken_list(sorted(film.present))}."
    wanted = {
        "report": Report(film.findings, film.impression).text,
        "findings": film.findings,
        "impression": film.impression,
    }
    return wanted[target]


def spoken_list(names: Sequence[str]) -> str:
    """Return names as running text: "Edema, pneumonia and pleural effusion"."""
    *most, last = [name.lower() for name in names]
    text = f"{', '.join(most)} and {last}" if most else last
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class RowBuilder:
    """Builds rows of every task for films whose codes are known.

    ``questions`` holds, by film, the rows of the VQA table; ``texts`` what is asked without a film;
    ``examples`` the training rows of the table of instructions; ``companions`` knows what studies
    hold beside a film.
    """

    prompts: PromptBuilder
    films: list[Film]
    codes: NDArray[np.int16]
    settings: SftSection = field(default_factory=SftSection)
    questions: Mapping[int, Sequence[tuple[str, str]]] = field(default_factory=dict)
    texts: Sequence[Exchange] = ()
    examples: Sequence[Example] = ()
    companions: Companions = NONE

    def report(self, film: int, rng: np.random.Generator) -> Row:
        """Film -> its report."""
        instruction = str(rng.choice(REPORT_INSTRUCTIONS))
        text = told(self.films[film], self.settings.target)
        return self.answered(film, instruction, text, rng)

    def compose(self, film: int, rng: np.random.Generator) -> Row:
        """Likely findings alone -> the report that they make: short rows, no film in them."""
        instruction = str(rng.choice(REPORT_INSTRUCTIONS))
        prompt = self.prompts.about_text(instruction, hints.line(self.hinted(film, rng)))
        return make_row(prompt, self.spoken(told(self.films[film], self.settings.target)))

    def draw(self, film: int, rng: np.random.Generator) -> Row:
        """Report -> its film; now and then without the report, for guidance at inference."""
        instruction = str(rng.choice(DRAW_INSTRUCTIONS))
        unprompted = rng.random() < self.settings.drop_prompt
        text = "" if unprompted else told(self.films[film], self.settings.target)
        prompt = self.prompts.about_text(instruction, text)
        image = self.prompts.vocabulary.image(self.codes[film].tolist())
        return make_row(prompt, [*image, self.prompts.vocabulary.end_id])

    def question(self, film: int, rng: np.random.Generator) -> Row:
        """Question on a film -> its answer."""
        rows = self.questions[film]
        question, answer = rows[int(rng.integers(len(rows)))]
        return self.answered(film, question, answer, rng)

    def text(self, film: int, rng: np.random.Generator) -> Row:
        """Text alone: an impression from findings, or an exchange of the text set."""
        case = self.films[film]
        if not self.texts or (case.findings and case.impression and rng.random() < 0.4):
            prompt = self.prompts.about_text(
                "Write the impression that follows from these findings.", case.findings
            )
            return make_row(prompt, self.spoken(case.impression))
        chosen = self.texts[int(rng.integers(len(self.texts)))]
        prompt = self.prompts.about_text(chosen.instruction, chosen.context)
        return make_row(prompt, self.spoken(chosen.response))

    def task(self, row: int, rng: np.random.Generator) -> Row:
        """Return a row of the table of instructions, on a film or on a text alone.

        The film stands alone and in the first place, as tasks are put in service: what stands
        beside it, or that it is called lateral, would give answers away. Beside it stands no more
        than the film that a task compares it with.
        """
        asked = self.examples[row]
        if asked.image_ids:
            film, *others = (self.places[image] for image in asked.image_ids)
            title, codes = TASK_TABLE[asked.task].compared, self.codes
            compared = {str(title): codes[other].tolist() for other in others}
            context = self.context(film, rng)
            study = StudyInput(codes[film].tolist(), context=context, **compared)
            prompt = self.prompts.about_study(asked.instruction, study)
        else:
            prompt = self.prompts.about_text(asked.instruction, asked.text)
        return make_row(prompt, self.spoken(asked.response))

    @cached_property
    def places(self) -> dict[str, int]:
        """The films' rows in the catalog, by image id."""
        return {film.image_id: row for row, film in enumerate(self.films)}

    def answered(self, film: int, instruction: str, text: str, rng: np.random.Generator) -> Row:
        """Return the row of an instruction on a film and what is known beside it.

        Parts of the study that would make it too long are left out, each whole, and counted.
        """
        study, response = self.study(film, rng), self.spoken(text)
        room = self.settings.max_length - len(response)
        prompt = self.prompts.fitting(instruction, study, room)
        num_left_out = len(study.parts) - len(prompt.inputs) if self.settings.parts else 0
        return make_row(prompt.ids, response, num_left_out)

    def study(self, film: int, rng: np.random.Generator) -> StudyInput:
        """Return what a prompt shows of a film's study."""
        context = self.context(film, rng)
        codes, case = self.codes[film].tolist(), self.films[film]
        if case.view == "lateral":
            return StudyInput((), codes, context=context)
        drawn = self.companions.drawn(case, self.settings.parts, rng)
        lateral = None if drawn.lateral is None else self.codes[drawn.lateral].tolist()
        return StudyInput(codes, lateral, drawn.indication, drawn.previous_report, context)

    def context(self, film: int, rng: np.random.Generator) -> str:
        """Return the line of likely findings as often as the recipe asks for it, else nothing."""
        hinted = rng.random() < self.settings.hints
        return hints.line(self.hinted(film, rng)) if hinted else ""

    def hinted(self, film: int, rng: np.random.Generator) -> frozenset[str]:
        """Return the findings that a film's text tells, nearly right, as a classifier is.

        Of its text, not of its labels: what cleaning took out of a report cannot be written.
        """
        case = self.films[film]
        present = case.present
        if case.has_report:
            present = present_in(label(told(case, self.settings.target)))
        rates = {name: MISSED_HINT if name in present else FALSE_HINT for name in hints.NAMES}
        return frozenset(
            name for name, rate in rates.items() if (name in present) != (rng.random() < rate)
        )

    def spoken(self, text: str) -> list[int]:
        """Return the ids of a text answer with its end mark."""
        return [*self.prompts.text_ids(text), self.prompts.vocabulary.end_id]

    def tasks(self) -> dict[str, Callable[[int, np.random.Generator], Row]]:
        """Return the tasks that a mixture may name."""
        return {
            "report": self.report,
            "compose": self.compose,
            "draw": self.draw,
            "vqa": self.question,
            "text": self.text,
            TASKS: self.task,
        }
