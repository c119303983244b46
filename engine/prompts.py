"""Prompts in the Alpaca layout, the same for training and for serving.

Blocks are separated by one empty line: introduction, ``### Instruction:``, ``Input:``, ``###
Response:``. An image stands in the input or in the response, never in both (arXiv 2305.11490,
section 3.3). The input of a style with parts names each of them on a line of its own, in the order
of `engine.study_input.Part`, and leaves out what is not known. A bundle names the style that it was
trained with; another style is a wrong prompt, so unknown names are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from engine.errors import PromptError
from engine.study_input import FRONTAL_ONLY, HEADINGS, Part, StudyInput
from engine.vocabulary import Vocabulary

if TYPE_CHECKING:  # a bundle checks that its prompts are known
    from engine.bundle import Bundle

RESPONSE = "### Response:\n"


@dataclass(frozen=True)
class Style:
    """The fixed sentences of one prompt version."""

    with_input: str
    without_input: str
    has_parts: bool = False


_INTRODUCTIONS = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n",
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n",
)

STYLES: dict[str, Style] = {
    "alpaca-1": Style(*_INTRODUCTIONS),
    "alpaca-compact-1": Style("", ""),
    "alpaca-study-1": Style(*_INTRODUCTIONS, has_parts=True),
}

REPORT_INSTRUCTIONS: tuple[str, ...] = (
    "Write the radiology report of this chest X-ray.",
    "Create a free-text radiology report for the entered chest X-ray image.",
    "Produce a radiology report based on the chest X-ray given.",
    "Describe the findings and the impression of this chest radiograph.",
    "Use the chest X-ray image to compose a radiology report.",
    "Read this chest film and report on it.",
    "Generate a report from the chest X-ray image.",
    "What would a radiologist write about this chest X-ray?",
    "Provide findings and impression for the chest X-ray.",
    "Report this chest radiograph in free text.",
)

DRAW_INSTRUCTIONS: tuple[str, ...] = (
    "Draw the chest X-ray that this report describes.",
    "Create a chest X-ray image that corresponds to the entered report.",
    "Generate a chest radiograph based on the radiology report given.",
    "Use the free-text report to produce a matching chest X-ray.",
    "Make a chest film that shows what the report says.",
    "Produce the chest X-ray image for this radiology report.",
    "Synthesize a chest radiograph from the report.",
    "Render a chest X-ray in agreement with these findings.",
    "Build the chest X-ray image described by the text.",
    "Turn this radiology report into a chest X-ray.",
)


@dataclass(frozen=True)
class Prompt:
    """The token ids of a prompt on a study, and the parts of the study that it holds."""

    ids: list[int]
    inputs: tuple[Part, ...]


@dataclass(frozen=True)
class PromptBuilder:
    """Turns instructions, texts and image codes into token ids for one bundle."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary
    version: str

    def __post_init__(self) -> None:
        """Refuse a prompt version that this software does not know."""
        if self.version not in STYLES:
            known = ", ".join(STYLES)
            raise PromptError(f"unknown prompt version {self.version}", hint=f"known: {known}")

    @classmethod
    def of(cls, bundle: Bundle) -> PromptBuilder:
        """Return the prompts of a bundle."""
        tokenizer = Tokenizer.from_file(str(bundle.path("tokenizer")))
        return cls(tokenizer, bundle.vocabulary, bundle.prompt_version)

    def text_ids(self, text: str) -> list[int]:
        """Return the token ids of a text; none of them is an image code."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        decoded: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return decoded.strip()

    @property
    def has_parts(self) -> bool:
        """Tell whether a prompt can hold more of a study than its frontal film."""
        return STYLES[self.version].has_parts

    def about_image(self, instruction: str, codes: Sequence[int], context: str = "") -> list[int]:
        """Return the prompt of an instruction on a frontal film, to where the response starts.

        ``context`` is a line of text below the image, such as the likely findings.
        """
        return self.about_study(instruction, StudyInput(codes, context=context))

    def about_study(self, instruction: str, study: StudyInput) -> list[int]:
        """Return the prompt of an instruction on a study, up to where the response starts.

        A style without parts shows its one film, and the line of likely findings.
        """
        ids: list[int] = []
        text = f"{STYLES[self.version].with_input}### Instruction:\n{instruction}\n\nInput:\n"
        for place, (heading, value) in enumerate(self._lines(study)):
            text += "\n" * bool(place) + heading
            if isinstance(value, str):
                text += value
                continue
            ids += [*self.text_ids(text), *self.vocabulary.image(value)]
            text = ""
        text += f"\n{study.context}\n\n{RESPONSE}" if study.context else f"\n\n{RESPONSE}"
        return [*ids, *self.text_ids(text)]

    def fitting(self, instruction: str, study: StudyInput, room: int) -> Prompt:
        """Return the prompt with so many parts of a study as ``room`` tokens hold.

        Parts are left out whole, those of `StudyInput.spare` in turn: half a report is another one.
        """
        ids = self.about_study(instruction, study)
        for part in study.spare if self.has_parts else ():
            if len(ids) <= room:
                break
            study = study.without(part)
            ids = self.about_study(instruction, study)
        return Prompt(ids, study.parts if self.has_parts else FRONTAL_ONLY)

    def _lines(self, study: StudyInput) -> list[tuple[str, str | Sequence[int]]]:
        """Return the lines of the input: what each begins with, and its text or image codes."""
        others = [(f"{title}: ", codes) for title, codes in study.compared]
        if not self.has_parts:
            return [("", study.film), *others]
        values = ((part, getattr(study, part)) for part in study.parts)
        return [*((f"{HEADINGS[part]}: ", value) for part, value in values), *others]

    def about_text(self, instruction: str, context: str = "") -> list[int]:
        """Return the prompt of an instruction on a text (or on nothing)."""
        style = STYLES[self.version]
        body = f"### Instruction:\n{instruction}\n\n"
        if context:
            return self.text_ids(f"{style.with_input}{body}Input:\n{context}\n\n{RESPONSE}")
        return self.text_ids(f"{style.without_input}{body}{RESPONSE}")

    def drawing(self, instruction: str, report: str) -> list[int]:
        """Return the prompt of a drawing, its open mark included: the next token is a code."""
        return [*self.about_text(instruction, report), self.vocabulary.image_open_id]
