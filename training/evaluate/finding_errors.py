"""The ``finding-error score``: what a draft gets right and wrong, finding by finding.

Deterministic, from the mentions of `engine.labeler` alone. It keeps the six kinds of error that
arXiv 2405.03595 asks a judge model for, but it is not that score and no judge is in it: the two are
not comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass

from engine.findings import FINDINGS
from engine.labeler import Mention, aggregate, mentions

NAME = "finding-error score"
DEFINITION = (
    "matched / (matched + errors); a finding counts where a mention is present or uncertain; on "
    "both sides: matched, or wrong side, or wrong severity (where both state one and none agrees); "
    "on one side: false or missing; a comparison with an earlier film on one side: invented or "
    "omitted; two normal reports match once; where nothing counts there is no score"
)
LENGTH_CONTROLLED = f"{NAME}, length-controlled"
LENGTH_DEFINITION = "the score divided by max(words of draft / words of reference, 1)"


@dataclass(frozen=True)
class Errors:
    """How many findings of one report fall under each heading."""

    matched: int = 0
    false: int = 0
    missing: int = 0
    wrong_side: int = 0
    wrong_severity: int = 0
    invented_comparison: int = 0
    omitted_comparison: int = 0

    def __add__(self, other: Errors) -> Errors:
        """Add up by heading."""
        return Errors(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def score(self) -> float | None:
        """Matched over matched and errors, in [0, 1]; None where nothing counts."""
        counted = sum(astuple(self))
        return self.matched / counted if counted else None


def compare(predicted: str, reference: str) -> Errors:
    """Count matches and errors of a drafted report against its reference."""
    ours, theirs = mentions(predicted), mentions(reference)
    total = sum(
        (_compare_finding(_positive(ours, name), _positive(theirs, name)) for name in FINDINGS[1:]),
        Errors(),
    )
    normal = aggregate(ours, predicted)[0] == aggregate(theirs, reference)[0] == 1.0
    return total + Errors(matched=int(normal))


def length_controlled(score: float, predicted: str, reference: str) -> float:
    """Return the score divided by how many times longer the draft is than its reference."""
    words = len(predicted.split()) / max(len(reference.split()), 1)
    return score / max(words, 1.0)


def _positive(found: Iterable[Mention], finding: str) -> list[Mention]:
    return [each for each in found if each.finding == finding and each.state != 0.0]


def _compare_finding(ours: list[Mention], theirs: list[Mention]) -> Errors:
    if not ours or not theirs:
        return Errors(false=int(bool(ours)), missing=int(bool(theirs)))
    side = _differ(_sides(ours), _sides(theirs))
    severity = _differ(_stated(ours, _severity), _stated(theirs, _severity))
    invented, omitted = (
        any(each.comparison for each in one) and not any(each.comparison for each in other)
        for one, other in ((ours, theirs), (theirs, ours))
    )
    return Errors(
        matched=int(not side and not severity),
        wrong_side=int(side),
        wrong_severity=int(severity),
        invented_comparison=int(invented),
        omitted_comparison=int(omitted),
    )


def _severity(mention: Mention) -> str | None:
    return mention.severity


def _stated(found: list[Mention], attribute: Callable[[Mention], str | None]) -> set[str]:
    return {value for each in found if (value := attribute(each)) is not None}


def _sides(found: list[Mention]) -> set[str]:
    """Return the sides stated; bilateral, or left and right, are one and the same."""
    stated = _stated(found, lambda each: each.side)
    return {"bilateral"} if "bilateral" in stated or len(stated) > 1 else stated


def _differ(ours: set[str], theirs: set[str]) -> bool:
    return bool(ours and theirs) and not ours & theirs
