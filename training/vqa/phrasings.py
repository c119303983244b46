"""How questions are put and answered: tables of phrasings, and the nouns that go into them.

Which phrasing a question gets is a hash of study and question, so a second run asks the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from engine.tasks.terms import BOTH_SIDES
from engine.tasks.words import PLACES, Noun

PRESENCE = (
    "Is there {a_noun}?",
    "Does the film show {a_noun}?",
    "Can {a_noun} be seen on this film?",
    "Is {a_noun} present?",
    "Do you see {a_noun} on this chest X-ray?",
)
SIDE = (
    "On which side is the {noun}?",
    "Which side shows the {noun}?",
    "Is the {noun} on the left, on the right or on both sides?",
)
REGION = (
    "In which part of the lung is the {noun}?",
    "Where in the lung is the {noun}?",
    "Which region of the lung shows the {noun}?",
)
DEGREE = (
    "How severe is the {noun}?",
    "What is the severity of the {noun}?",
    "Is the {noun} mild, moderate or severe?",
)
SIZE = (
    "How large is the {noun}?",
    "What is the size of the {noun}?",
    "Is the {noun} small, moderate or large?",
)
APPEARANCE = (
    "What does the {noun} look like?",
    "How would you describe the {noun}?",
    "What is the appearance of the {noun}?",
)
VIEW = (
    "Is this a frontal or a lateral film?",
    "Which view of the chest is this?",
    "Is the view frontal or lateral?",
)
PROJECTION = (
    "Is this frontal film PA or AP?",
    "Which projection was used, PA or AP?",
    "Did the beam run posterior to anterior (PA) or anterior to posterior (AP)?",
)


def digest(*parts: str) -> int:
    """Return a number that depends on nothing but these words."""
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")


def choose(phrasings: Sequence[str], study_id: str, topic: str) -> str:
    """Return the phrasing that a question of a study gets."""
    return phrasings[digest(study_id, topic) % len(phrasings)]


def presence_answer(noun: Noun, present: bool, *, severity: str, side: str, region: str) -> str:
    """Return the sentence that answers a question on presence, with what is known of the place."""
    if not present:
        return f"No, there is no {noun.singular}."
    verb = "are" if side == BOTH_SIDES and noun.plural else "is"
    place = f" in the {PLACES[region]}" if region else ""
    if region and side in ("left", "right"):
        place, side = f" in the {side} {PLACES[region]}", ""
    return f"Yes, there {verb} {noun.phrase(severity, side)}{place}."


def side_answer(noun: Noun, side: str) -> str:
    """Return the sentence that says on which side a finding is."""
    where = "on both sides" if side == BOTH_SIDES else f"on the {side} side"
    return f"The {noun.singular} is {where}."


def region_answer(noun: Noun, region: str, side: str) -> str:
    """Return the sentence that says in which part of the lung a finding is."""
    where = f"{side} {PLACES[region]}" if side in ("left", "right") else PLACES[region]
    return f"The {noun.singular} is in the {where}."


def quality_answer(noun: Noun, word: str) -> str:
    """Return the sentence that gives a finding's severity or appearance."""
    return f"The {noun.singular} is {noun.degree(word)}."
