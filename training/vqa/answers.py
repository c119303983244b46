"""Canonical short answers: the terms that a question can be answered with, and how text is read.

Side, region and severity are the labeler's own terms (small is mild, large is severe). A generator
and the scorer read text by the same tables, so an answer that training teaches is an
answer that evaluation can score. Text that names no term, or two that exclude each other, has no
canonical answer: it is unparsable, hence wrong (the published CheXbench scorer guesses at random
there, which rewards silence; reference: arXiv 2401.12208).
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.tasks.terms import (
    PROJECTION,
    REGION,
    SEVERITY,
    SIDE,
    VIEW,
    Terms,
    one_term,
    terms,
    yes_or_no,
)

APPEARANCE = terms(
    {
        "patchy": "patchy",
        "streaky": "streaky|linear|band-?like|plate-?like|discoid|subsegmental",
        "interstitial": "interstitial|reticular|reticulonodular",
        "nodular": "nodular|round(?:ed)?",
        "calcified": "calcified",
        "hazy": "hazy|ground[- ]glass",
        "diffuse": "diffuse(?:ly)?",
        "focal": "focal",
    }
)

FAMILIES: dict[str, dict[str, Terms]] = {
    "location": {"side": SIDE, "region": REGION},
    "severity": {"severity": SEVERITY},
    "appearance": {"appearance": APPEARANCE},
    "view": {"view": VIEW, "projection": PROJECTION},
}
"""The tables of each kind of question, by topic; presence has none, its answers are yes and no."""


def topic_of(kind: str, key: str) -> str:
    """Return the topic whose terms compete with a canonical answer, ``""`` when none has it."""
    if kind == "presence":
        return kind if key in ("yes", "no") else ""
    return next((topic for topic, family in families(kind) if key in family), "")


def families(kind: str) -> Iterable[tuple[str, Terms]]:
    """Return the topics of a kind of question with their terms."""
    return FAMILIES.get(kind, {}).items()


def parse(kind: str, expected: str, text: str) -> str:
    """Read an answer to a question whose true key is ``expected``; ``""`` when unparsable.

    Only the family of the expected key matters: "in the right upper lobe" answers "which side" with
    ``right`` and "which region" with ``upper``.
    """
    if kind == "presence":
        return yes_or_no(text)
    family = FAMILIES.get(kind, {}).get(topic_of(kind, expected))
    return one_term(family, text) if family is not None else ""


def key_of(kind: str, text: str) -> str:
    """Return the canonical answer that a free text gives to a kind of question, ``""`` for none."""
    if kind == "presence":
        return yes_or_no(text)
    found = (one_term(family, text) for _, family in families(kind))
    return next(filter(None, found), "")
