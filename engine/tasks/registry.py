"""The registry: one row a task. What it is given, how it is put, how its reply is read and scored.

The families are those of CheXagent's instruction data and benchmark (arXiv 2401.12208). Builders of
training rows and scorers live in `training.tasks`, in tables keyed by these names.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from engine.errors import TaskError
from engine.tasks.answers import Answer
from engine.tasks.phrasing import INSTRUCTIONS


class Input(enum.Enum):
    """What a task can be given; the value is its place in an instruction."""

    FILM = "film"
    SECOND_FILM = "second film"
    PRIOR_FILM = "prior film"
    TEXT = "text"
    FINDING = "finding"
    OPTIONS = "options"
    SECTION = "section"
    PHRASE = "phrase"
    INDICATION = "indication"


FILMS = (Input.FILM, Input.SECOND_FILM, Input.PRIOR_FILM)
COMPARED: Mapping[Input, str] = {Input.SECOND_FILM: "second", Input.PRIOR_FILM: "earlier"}
"""What the prompt calls the other film of a task (`engine.study_input.COMPARED`)."""


class Scorer(enum.Enum):
    """How a task's answers are scored."""

    ACCURACY = "accuracy"
    SET_F1 = "F1 of the set"
    IOU = "intersection over union"
    REPORT = "report metrics"


@dataclass(frozen=True)
class Task:
    """One thing to ask for."""

    name: str
    family: str
    instructions: tuple[str, ...]
    inputs: tuple[Input, ...]
    answer: Answer
    scorer: Scorer

    @property
    def num_films(self) -> int:
        """Return how many films the task is about."""
        return sum(one in FILMS for one in self.inputs)

    @property
    def compared(self) -> str | None:
        """Return the name of the film that the first one is compared with, if any."""
        return next((COMPARED[one] for one in self.inputs if one in COMPARED), None)

    @property
    def words(self) -> tuple[Input, ...]:
        """The inputs that are words."""
        return tuple(one for one in self.inputs if one not in FILMS)

    @property
    def has_text_block(self) -> bool:
        """Tell whether the text is the prompt's input, as it is where there is no film."""
        return Input.TEXT in self.inputs and not self.num_films

    def put(self, given: Mapping[Input, str], phrasing: int = 0) -> str:
        """Return the instruction with what is given in its places.

        Raises
        ------
        TaskError
            Something is missing, empty, or not wanted.
        """
        for one in self.words:
            if not given.get(one, "").strip():
                raise TaskError(f"{self.name} needs {one.value}", hint=f"give its {one.value}")
        surplus = [one.value for one in given if one not in self.words]
        if surplus:
            raise TaskError(f"{self.name} takes no {' and no '.join(surplus)}")
        places = {one.value: " ".join(text.split()) for one, text in given.items()}
        return self.instructions[phrasing % len(self.instructions)].format_map(places)


SECTIONS: tuple[str, ...] = ("airway", "breathing", "cardiac", "diaphragm", "everything else")
"""The anatomical sections, in reading order: trachea and hila, lungs and pleura, heart and
mediastinum, diaphragm and what is below it, bones, devices and soft tissue."""

_F, _W = Input.FILM, Input
_Row = tuple[str, str, tuple[Input, ...], Answer, Scorer]
_ROWS: tuple[_Row, ...] = (
    ("view", "view", (_F,), Answer.VIEW, Scorer.ACCURACY),
    ("view-matching", "view", (_F, _W.SECOND_FILM), Answer.YES_NO, Scorer.ACCURACY),
    ("binary-disease", "disease", (_F, _W.FINDING), Answer.YES_NO, Scorer.ACCURACY),
    ("single-disease", "disease", (_F, _W.OPTIONS), Answer.CHOICE, Scorer.ACCURACY),
    ("multi-disease", "disease", (_F, _W.OPTIONS), Answer.SUBSET, Scorer.SET_F1),
    ("disease-set", "disease", (_F, _W.OPTIONS), Answer.CHOICE, Scorer.ACCURACY),
    ("disease-list", "disease", (_F,), Answer.FINDINGS, Scorer.SET_F1),
    ("side", "place", (_F, _W.FINDING), Answer.SIDE, Scorer.ACCURACY),
    ("location", "place", (_F, _W.FINDING), Answer.REGION, Scorer.ACCURACY),
    ("severity", "place", (_F, _W.FINDING), Answer.SEVERITY, Scorer.ACCURACY),
    ("localise", "place", (_F, _W.FINDING), Answer.PLACE, Scorer.ACCURACY),
    ("fine-grained", "place", (_F, _W.OPTIONS), Answer.CHOICE, Scorer.ACCURACY),
    ("phrase-grounding", "boxes", (_F, _W.PHRASE), Answer.BOXES, Scorer.IOU),
    ("abnormality-detection", "boxes", (_F, _W.FINDING), Answer.BOXES, Scorer.IOU),
    ("pneumothorax-region", "place", (_F,), Answer.PLACE, Scorer.ACCURACY),
    ("progression", "course", (_F, _W.PRIOR_FILM, _W.FINDING), Answer.PROGRESS, Scorer.ACCURACY),
    ("findings", "report", (_F,), Answer.SECTION_TEXT, Scorer.REPORT),
    ("findings-with-indication", "report", (_F, _W.INDICATION), Answer.SECTION_TEXT, Scorer.REPORT),
    ("findings-by-section", "report", (_F, _W.SECTION), Answer.SECTION_TEXT, Scorer.REPORT),
    ("impression", "report", (_F,), Answer.SECTION_TEXT, Scorer.REPORT),
    ("impression-from-findings", "text", (_W.TEXT,), Answer.SECTION_TEXT, Scorer.REPORT),
    ("findings-in-text", "text", (_W.TEXT,), Answer.FINDINGS, Scorer.SET_F1),
    ("image-text-matching", "matching", (_F, _W.TEXT), Answer.YES_NO, Scorer.ACCURACY),
    ("image-text-selection", "matching", (_F, _W.OPTIONS), Answer.CHOICE, Scorer.ACCURACY),
    ("vqa-yes-no", "questions", (_F, _W.TEXT), Answer.YES_NO, Scorer.ACCURACY),
    ("vqa", "questions", (_F, _W.TEXT), Answer.TEXT, Scorer.REPORT),
    ("vqa-choice", "questions", (_F, _W.TEXT, _W.OPTIONS), Answer.SUBSET, Scorer.SET_F1),
)

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        name: Task(name, family, INSTRUCTIONS[name], inputs, answer, scorer)
        for name, family, inputs, answer, scorer in _ROWS
    }
)


def task_named(name: str) -> Task:
    """Return a task by name.

    Raises
    ------
    TaskError
        There is none of that name.
    """
    if name not in TASKS:
        raise TaskError(f"no task is called {name!r}")
    return TASKS[name]
