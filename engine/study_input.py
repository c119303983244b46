"""What a prompt may hold of a study: parts, each of them known or left out.

A bundle names the parts that it was trained with (``inputs`` in its manifest); it is given no
other. Text that comes from outside is brought to one line, so that none can pass for another part
or for the end of a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypedDict

from engine.results import Image


class Part(StrEnum):
    """A part of a study that a prompt may hold, in the order in which it holds them."""

    INDICATION = "indication"
    PREVIOUS_REPORT = "previous_report"
    FRONTAL = "frontal"
    LATERAL = "lateral"


HEADINGS: Final[dict[Part, str]] = {
    Part.INDICATION: "Indication",
    Part.PREVIOUS_REPORT: "Previous report",
    Part.FRONTAL: "Frontal",
    Part.LATERAL: "Lateral",
}

COMPARED: Final[dict[str, str]] = {"second": "Second film", "earlier": "Earlier film"}
"""Films that a task compares the first one with, and how a prompt calls them."""

FRONTAL_ONLY: Final = (Part.FRONTAL,)
"""What a bundle knows whose manifest says nothing."""

FIRST_TO_GO: Final = (Part.PREVIOUS_REPORT, Part.LATERAL, Part.INDICATION)
"""Which part is left out first where a prompt has not room for all; the frontal film never is."""

_AGE = re.compile(
    r"(?:^|(?<=[.!?] ))(?:an?\s+)?(?:\d{1,3}|_{2,}|X{3,})[\s-]*"
    r"(?:(?:years?|yrs?|y)[\s/.-]*(?:old|o)\b[\s.,;-]*|(?=(?:m|f|man|woman|male|female)\b))",
    re.IGNORECASE,
)
_MARK = re.compile(r"#{2,}|<\||\|>")


class Beside(TypedDict, total=False):
    """What may be given beside a frontal film; what is left out is not known.

    ``second`` and ``earlier`` are films that the instruction compares with the first.
    """

    lateral: Image | None
    indication: str
    previous_report: str
    second: Image | None
    earlier: Image | None


@dataclass(frozen=True)
class StudyInput:
    """The parts of one study: image codes, texts, and the line of likely findings.

    A training row of a lateral film alone has no ``frontal``. ``second`` and ``earlier`` are no
    parts: a prompt that compares films holds them, whatever its style.
    """

    frontal: Sequence[int] = ()
    lateral: Sequence[int] | None = None
    indication: str = ""
    previous_report: str = ""
    context: str = ""
    second: Sequence[int] | None = None
    earlier: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Bring the texts to one line each, an indication without the age."""
        object.__setattr__(self, Part.INDICATION, without_age(self.indication))
        object.__setattr__(self, Part.PREVIOUS_REPORT, one_line(self.previous_report))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are known, in the order of the prompt."""
        return tuple(part for part in Part if getattr(self, part))

    @property
    def compared(self) -> list[tuple[str, Sequence[int]]]:
        """The films that the first one is compared with, each after what it is called."""
        found = ((title, getattr(self, name)) for name, title in COMPARED.items())
        return [(title, codes) for title, codes in found if codes is not None]

    @property
    def film(self) -> Sequence[int]:
        """The codes of the one film that a prompt without parts shows."""
        return self.frontal or self.lateral or ()

    @property
    def spare(self) -> tuple[Part, ...]:
        """The known parts that a prompt can do without, what goes first before others."""
        only_film = Part.LATERAL if not self.frontal else Part.FRONTAL
        return tuple(part for part in FIRST_TO_GO if part in self.parts and part != only_film)

    def without(self, part: Part) -> StudyInput:
        """Return the study as if a part of it were not known."""
        empty: dict[str, Any] = {part: None if part is Part.LATERAL else ""}
        return replace(self, **empty)

    def only(self, known: Collection[Part]) -> StudyInput:
        """Return the study with no parts but these and the frontal film."""
        kept = self
        for part in FIRST_TO_GO:
            kept = kept if part in known else kept.without(part)
        return kept


def one_line(text: str) -> str:
    """Return a text on one printable line, without what marks the blocks of a prompt."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(_MARK.sub(" ", printable).split())


def without_age(text: str) -> str:
    """Return an indication on one line, its sentences without the age that they begin with.

    The published collections have ages blacked out; a model trained on them has seen none.
    """
    return _AGE.sub("", one_line(text))


def previous_text(findings: str, impression: str) -> str:
    """Return an earlier report as it stands in a prompt, the same in training and in service."""
    parts = (("Findings", findings), ("Impression", impression))
    return one_line(" ".join(f"{heading}: {body}" for heading, body in parts if body.strip()))


def inputs_of(names: Sequence[str]) -> tuple[Part, ...]:
    """Return parts by their names, in the order of the prompt.

    Raises
    ------
    ValueError
        A name is none of a part.
    """
    named = {Part(name) for name in names}
    return tuple(part for part in Part if part in named)
