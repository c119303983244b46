"""Is this a film that the model may draft from? Headers lie, so the pixels decide.

Each check is one row of a table: what it looks at and the sentence that a person reads when it
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import GenerationFault
from engine.results import Image, Inspection

VIEWS = ("frontal", "lateral", "other")
TURNS = (0, 90, 180, 270)
FOREIGN = "this is not a chest X-ray"
LATERAL = "this is a lateral film; a frontal one is needed"

Answers = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Thresholds:
    """Where each check draws its line; a bundle carries its own, fixed on validation films."""

    min_contrast: float = 0.12
    max_novelty: float = float("inf")
    min_upright: float = 0.5
    max_inverted: float = 0.5
    min_frontal: float = 0.5

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Thresholds:
        """Read thresholds from a bundle's manifest."""
        return cls(**{key: float(value) for key, value in values.items()})


def contrast(image: Image) -> float:
    """Return the standard deviation of a film in [-1, 1]."""
    return float(image.std())


def view_of(answers: Answers) -> str:
    """Return the most probable view."""
    return VIEWS[int(np.argmax(answers["view"]))]


def flat(image: Image, answers: Answers, limits: Thresholds) -> str | None:
    """Check the contrast."""
    return "the film has almost no contrast" if contrast(image) < limits.min_contrast else None


def foreign(image: Image, answers: Answers, limits: Thresholds) -> str | None:
    """Check that it is a chest film at all."""
    known = float(answers["novelty"]) <= limits.max_novelty
    return None if known and view_of(answers) != "other" else FOREIGN


def sideways(image: Image, answers: Answers, limits: Thresholds) -> str | None:
    """Check that the view is frontal."""
    if view_of(answers) == "lateral":
        return LATERAL
    unsure = float(answers["view"][0]) < limits.min_frontal
    return "the view is uncertain; a frontal film is needed" if unsure else None


def turned(image: Image, answers: Answers, limits: Thresholds) -> str | None:
    """Check that the film stands upright."""
    if float(answers["turn"][0]) >= limits.min_upright:
        return None
    return f"the film is turned by about {TURNS[int(np.argmax(answers['turn']))] or 90} degrees"


def negative(image: Image, answers: Answers, limits: Thresholds) -> str | None:
    """Check that bones are bright."""
    if float(answers["inverted"]) <= limits.max_inverted:
        return None
    return "the film is inverted (bones are dark)"


Check = Callable[[Image, Answers, Thresholds], str | None]
CHECKS: tuple[Check, ...] = (flat, foreign, sideways, turned, negative)


NO_NUMBERS = Inspection(False, "other", ("the film holds values that are not numbers",), {})
"""The verdict on a film that no network can look at."""


def finite_answers(answers: Answers) -> Answers:
    """Return the classifier's answers, refusing NaN and infinity.

    Raises
    ------
    GenerationFault
        The classifier produced a value that is no number.
    """
    if not all(np.isfinite(values).all() for values in answers.values()):
        raise GenerationFault("the film classifier produced values that are not numbers")
    return answers


def inspect(image: Image, answers: Answers, limits: Thresholds) -> Inspection:
    """Run every check on a rendered film and the classifier's answers for it.

    Raises
    ------
    GenerationFault
        The classifier produced a value that is no number.
    """
    if not np.isfinite(image).all():
        return NO_NUMBERS
    finite_answers(answers)
    found = (check(image, answers, limits) for check in CHECKS)
    reasons = tuple(reason for reason in found if reason)
    scores = {
        "contrast": contrast(image),
        "frontal": float(answers["view"][0]),
        "upright": float(answers["turn"][0]),
        "inverted": float(answers["inverted"]),
        "novelty": float(answers["novelty"]),
    }
    return Inspection(not reasons, view_of(answers), reasons, scores)


def as_lateral(inspection: Inspection) -> Inspection:
    """Return the verdict on a film that is to be the lateral one of its study.

    What is familiar was learned from frontal films: every lateral one is novel, and that it is
    one says the view.
    """
    if inspection.view != "lateral":
        return replace(inspection, accepted=False, reasons=("this is not a lateral chest film",))
    reasons = tuple(one for one in inspection.reasons if one not in (FOREIGN, LATERAL))
    return replace(inspection, accepted=not reasons, reasons=reasons)
