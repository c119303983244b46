"""The tasks as calls: ``Tasks(engine).view(image).value``, each result with its provenance.

A value is what `engine.tasks.answers` reads in the reply, `UNPARSABLE` where that is nothing; the
reply itself is kept beside it. Nothing here is a diagnosis: what a model says is a draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypedDict, TypeVar, Unpack, cast

from engine.errors import TaskError
from engine.generation import Advance, ignore
from engine.results import Answer as Reply
from engine.results import Image, Provenance
from engine.study_input import Beside
from engine.tasks.answers import Answer, read
from engine.tasks.registry import SECTIONS, TASKS, Input, Task, task_named
from engine.tasks.values import Place, Reading, Unparsable, as_json
from engine.tasks.words import LETTERS, finding_named, listed, noun

V = TypeVar("V")
MOST_TOKENS = {Answer.SECTION_TEXT: 160, Answer.SUBSET: 96}
"""How long a reply may be, where it is not `SHORT_REPLY`."""
SHORT_REPLY = 64


class Manner(TypedDict):
    """How a model is to reply."""

    max_new_tokens: int
    options: Sequence[str]


def manner(task: Task, options: Sequence[str]) -> Manner:
    """Return how a model is to reply to a task: of options that exclude each other with one."""
    is_choice = task.answer is Answer.CHOICE
    return Manner(
        max_new_tokens=MOST_TOKENS.get(task.answer, SHORT_REPLY),
        options=options if is_choice else (),
    )


class Follower(Protocol):
    """What tasks ask of a model; `engine.pipeline.Engine` is one."""

    @property
    def taught(self) -> frozenset[str]:
        """The tasks that the model was trained on."""

    def follow(
        self,
        instruction: str,
        image: Image | None = ...,
        *,
        text: str = ...,
        options: Sequence[str] = ...,
        max_new_tokens: int = ...,
        advance: Advance = ...,
        **beside: Unpack[Beside],
    ) -> Reply:
        """Do what an instruction says."""


@dataclass(frozen=True)
class Answered(Generic[V]):
    """What a model replied to a task, and what that means.

    ``value`` is `UNPARSABLE` when the reply answers nothing: that is no answer, least of all "no".
    """

    task: str
    instruction: str
    options: tuple[str, ...]
    value: V | Unparsable
    text: str
    provenance: Provenance

    @property
    def is_parsed(self) -> bool:
        """Tell whether the reply answers."""
        return not isinstance(self.value, Unparsable)

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON-ready values; a choice also as the option's text."""
        is_choice = TASKS[self.task].answer is Answer.CHOICE and isinstance(self.value, int)
        chosen = self.options[cast("int", self.value)] if is_choice else None
        return {
            "task": self.task,
            "instruction": self.instruction,
            "options": list(self.options),
            "parsed": self.is_parsed,
            "value": as_json(cast("Reading", self.value)),
            "chosen": chosen,
            "text": self.text,
            "provenance": self.provenance.as_json(),
        }


ViewAnswer = Answered[str]
YesNoAnswer = Answered[bool]
ChoiceAnswer = Answered[int]
SetAnswer = Answered[frozenset[str]]
TermAnswer = Answered[str]
PlaceAnswer = Answered[Place]
TextAnswer = Answered[str]


def prepared(task: Task, given: Mapping[Input, str], options: Sequence[str]) -> dict[Input, str]:
    """Return what a task is given, findings and sections checked and options under letters.

    Raises
    ------
    TaskError
        A finding or section is unknown, or there are too few or too many options.
    """
    places = dict(given)
    if Input.FINDING in places:
        places[Input.FINDING] = noun(finding_named(places[Input.FINDING]))
    section = places.get(Input.SECTION)
    if section is not None and section not in SECTIONS:
        raise TaskError(f"no section is called {section!r}", hint="one of: " + ", ".join(SECTIONS))
    if options and not 2 <= len({*map(str.strip, options)} - {""}) == len(options) <= len(LETTERS):
        raise TaskError(
            f"{task.name} takes 2 to {len(LETTERS)} options, each once", hint="give them in quotes"
        )
    if options:
        places[Input.OPTIONS] = listed(options)
    return places


@dataclass(frozen=True)
class Tasks:
    """The tasks of the registry, put to one model."""

    model: Follower

    def run(
        self,
        name: str,
        image: Image | None = None,
        given: Mapping[Input, str] | None = None,
        *,
        options: Sequence[str] = (),
        other: Image | None = None,
        advance: Advance = ignore,
    ) -> Answered[Any]:
        """Put a task by name; ``other`` is the film that ``image`` is compared with.

        Raises
        ------
        TaskError
            The task is unknown, compares films and was not taught, or something is missing or not
            wanted.
        """
        task = task_named(name)
        check_films(task, image, other, self.model.taught)
        places = prepared(task, given or {}, options)
        text = places[Input.TEXT] if task.has_text_block and Input.TEXT in places else ""
        instruction = task.put(places)
        reply = self.model.follow(
            instruction,
            image,
            text=text.strip(),
            advance=advance,
            **manner(task, options),
            **beside(task, other),
        )
        value = read(task.answer, reply.text, options)
        return Answered(name, instruction, tuple(options), value, reply.text, reply.provenance)

    def view(self, image: Image) -> ViewAnswer:
        """Return PA, AP or lateral."""
        return self.run("view", image)

    def same_study(self, image: Image, second: Image) -> YesNoAnswer:
        """Tell whether two films are of one study."""
        return self.run("view-matching", image, other=second)

    def progression(self, image: Image, earlier: Image, finding: str) -> TermAnswer:
        """Return whether a finding is improving, stable or worsening since an earlier film."""
        return self.run("progression", image, {Input.FINDING: finding}, other=earlier)

    def has(self, image: Image, finding: str) -> YesNoAnswer:
        """Tell whether a finding is present."""
        return self.run("binary-disease", image, {Input.FINDING: finding})

    def findings(self, image: Image) -> SetAnswer:
        """Return the findings that are present."""
        return self.run("disease-list", image)

    def which(self, image: Image, options: Sequence[str]) -> ChoiceAnswer:
        """Return the place of the one option that is present."""
        return self.run("single-disease", image, options=options)

    def which_of(self, image: Image, options: Sequence[str]) -> SetAnswer:
        """Return those of the options that are present."""
        return self.run("multi-disease", image, options=options)

    def which_set(self, image: Image, options: Sequence[str]) -> ChoiceAnswer:
        """Return the place of the list of findings that fits."""
        return self.run("disease-set", image, options=options)

    def statement(self, image: Image, options: Sequence[str]) -> ChoiceAnswer:
        """Return the place of the statement that is true."""
        return self.run("fine-grained", image, options=options)

    def side(self, image: Image, finding: str) -> TermAnswer:
        """Return left, right or bilateral."""
        return self.run("side", image, {Input.FINDING: finding})

    def location(self, image: Image, finding: str) -> TermAnswer:
        """Return the region of the lung."""
        return self.run("location", image, {Input.FINDING: finding})

    def severity(self, image: Image, finding: str) -> TermAnswer:
        """Return mild, moderate or severe."""
        return self.run("severity", image, {Input.FINDING: finding})

    def localise(self, image: Image, finding: str) -> PlaceAnswer:
        """Return side and region of a finding."""
        return self.run("localise", image, {Input.FINDING: finding})

    def write_findings(self, image: Image, indication: str = "") -> TextAnswer:
        """Write the findings, with the indication in view where there is one."""
        if not indication.strip():
            return self.run("findings", image)
        return self.run("findings-with-indication", image, {Input.INDICATION: indication})

    def write_section(self, image: Image, section: str) -> TextAnswer:
        """Write the findings of one of `SECTIONS`."""
        return self.run("findings-by-section", image, {Input.SECTION: section})

    def write_impression(self, image: Image) -> TextAnswer:
        """Write the impression of a film."""
        return self.run("impression", image)

    def summarise(self, findings: str) -> TextAnswer:
        """Write the impression that follows from findings, without a film."""
        return self.run("impression-from-findings", None, {Input.TEXT: findings})

    def findings_in(self, report: str) -> SetAnswer:
        """Return the findings that a text asserts, without a film."""
        return self.run("findings-in-text", None, {Input.TEXT: report})

    def matches(self, image: Image, text: str) -> YesNoAnswer:
        """Tell whether a text belongs to a film."""
        return self.run("image-text-matching", image, {Input.TEXT: text})

    def select(self, image: Image, texts: Sequence[str]) -> ChoiceAnswer:
        """Return the place of the text that belongs to a film."""
        return self.run("image-text-selection", image, options=texts)

    def yes_or_no(self, image: Image, question: str) -> YesNoAnswer:
        """Answer a question by yes or no."""
        return self.run("vqa-yes-no", image, {Input.TEXT: question})

    def ask(self, image: Image, question: str) -> TextAnswer:
        """Answer a question in words."""
        return self.run("vqa", image, {Input.TEXT: question})


def beside(task: Task, other: Image | None) -> Beside:
    """Return the film that a task compares with, under the name that the prompt knows it by."""
    given: dict[str, Any] = {task.compared: other} if task.compared else {}
    return cast("Beside", given)


def check_films(
    task: Task, image: Image | None, other: Image | None, taught: frozenset[str]
) -> None:
    """Refuse a task that wants more films than are given, or fewer.

    A prompt of two films means nothing to a model that was trained on one.

    Raises
    ------
    TaskError
        With what to give.
    """
    if task.compared and task.name not in taught:
        raise TaskError(
            f"{task.name} compares two films, which this bundle was not taught",
            hint="a bundle's model card names the tasks that it was taught",
        )
    if task.compared and other is None:
        raise TaskError(f"{task.name} needs a second film", hint="name its file by --second")
    if other is not None and not task.compared:
        raise TaskError(f"{task.name} takes one film", hint="leave --second out")
    if task.num_films and image is None:
        raise TaskError(f"{task.name} needs a film", hint="name the film's file")
    if image is not None and not task.num_films:
        raise TaskError(f"{task.name} takes no film", hint="leave the film out")
