"""What the classifier sees beside what the drafted text says: one verdict on each finding.

Two witnesses of one film. The classifier states a calibrated probability; the text is read by the
labeler. Where they contradict each other both are kept, and whoever shows the draft says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine import labeler
from engine.findings import FINDINGS
from engine.labeler import Mention
from engine.labels.patterns import ABSENT, PRESENT, UNCERTAIN

Presence = Literal["present", "absent", "undetermined"]
Stated = Literal["present", "absent", "uncertain", "not stated"]

_STATED: dict[float | None, Stated] = {
    PRESENT: "present",
    ABSENT: "absent",
    UNCERTAIN: "uncertain",
    None: "not stated",
}
_OTHER_SIDE = {"left": "right", "right": "left"}
_CONTRADICTIONS = {("present", "absent"), ("absent", "present")}


@dataclass(frozen=True)
class Bands:
    """The calibrated probabilities from which a finding counts as present, and below as absent.

    In between it is undetermined: a probability that says neither is reported as neither.
    """

    present_from: float = 0.5
    absent_below: float = 0.1

    def presence(self, certainty: float) -> Presence:
        """Return what a calibrated probability amounts to."""
        if certainty >= self.present_from:
            return "present"
        return "absent" if certainty < self.absent_below else "undetermined"


@dataclass(frozen=True)
class Assessment:
    """One finding on one film.

    ``certainty`` is the calibrated probability that the finding is there, None where the
    classifier was never shown to tell it. ``text`` is what the draft says of it; ``side`` and
    ``regions`` are as the draft says, where it does.
    """

    finding: str
    presence: Presence
    certainty: float | None
    text: Stated
    side: str | None = None
    regions: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Tell whether classifier and text do not contradict each other."""
        return (self.presence, self.text) not in _CONTRADICTIONS

    @property
    def is_omitted(self) -> bool:
        """Tell whether the classifier sees a finding of which the text is silent."""
        said = self.text != "not stated" or self.finding == "No Finding"
        return self.presence == "present" and not said

    def as_json(self) -> dict[str, Any]:
        """Return the assessment as JSON-ready values."""
        return {**asdict(self), "regions": list(self.regions), "agrees": self.agrees}


def assess(
    chances: Mapping[str, float], proven: Collection[str], text: str, bands: Bands
) -> tuple[Assessment, ...]:
    """Return the fourteen assessments in the order of `engine.findings.FINDINGS`.

    Parameters
    ----------
    chances
        The classifier's calibrated probability of each finding.
    proven
        The findings that the classifier was measured to tell; of the others it says nothing.
    text
        The drafted report.
    """
    found = labeler.mentions(text)
    states = dict(zip(FINDINGS, labeler.aggregate(found, text), strict=True))
    return tuple(
        _assessment(
            name,
            chances[name] if name in proven else None,
            _STATED[states[name]],
            [mention for mention in found if mention.finding == name and mention.state != ABSENT],
            bands,
        )
        for name in FINDINGS
    )


def _assessment(
    name: str, certainty: float | None, text: Stated, there: Iterable[Mention], bands: Bands
) -> Assessment:
    presence = "undetermined" if certainty is None else bands.presence(certainty)
    mentions = list(there)
    return Assessment(
        finding=name,
        presence=presence,
        certainty=certainty,
        text=text,
        side=_side(mentions),
        regions=_regions(mentions),
    )


def _side(mentions: Sequence[Mention]) -> str | None:
    """Return the side of all mentions together: left and right make both.

    None where a sentence names the other side, too: which of them a finding lies on is then for
    a reader of the sentence to say, and a wrong side is worse than none.
    """
    if any(map(_names_another_side, mentions)):
        return None
    sides = {mention.side for mention in mentions if mention.side}
    return next(iter(sides)) if len(sides) == 1 else ("bilateral" if sides else None)


def _names_another_side(mention: Mention) -> bool:
    if mention.side not in _OTHER_SIDE:
        return False
    return re.search(rf"\b{_OTHER_SIDE[mention.side]}\b", mention.sentence, re.I) is not None


def _regions(mentions: Sequence[Mention]) -> tuple[str, ...]:
    """Return the regions of all mentions; none where each side has its own."""
    if any(map(_names_another_side, mentions)):
        return ()
    sides = {mention.side for mention in mentions if mention.region}
    regions = dict.fromkeys(mention.region for mention in mentions if mention.region)
    return tuple(regions) if len(sides) == 1 or len(regions) == 1 else ()


def disagreement(assessment: Assessment) -> str:
    """Return the sentence that tells a reader of a contradiction or an omission; else nothing."""
    if assessment.certainty is None:
        return ""
    if assessment.is_omitted:
        return (
            f"Not mentioned: {assessment.finding.lower()}; the classifier gives it a probability "
            f"of {100 * assessment.certainty:.0f} %. Look at the film."
        )
    if assessment.agrees:
        return ""
    if assessment.finding == "No Finding":
        return _on_normality(assessment.text, assessment.certainty)
    return (
        f"Disagreement on {assessment.finding.lower()}: the drafted text says "
        f"{assessment.text}, the classifier gives it a probability of "
        f"{100 * assessment.certainty:.0f} %. Look at the film."
    )


def _on_normality(text: Stated, certainty: float) -> str:
    """Return the sentence for a film without findings: "no finding absent" would say nothing."""
    drafted = "names no finding" if text == "present" else "names findings"
    return (
        f"Disagreement on whether the film is normal: the drafted text {drafted}, the classifier "
        f"gives a normal film a probability of {100 * certainty:.0f} %. Look at the film."
    )
