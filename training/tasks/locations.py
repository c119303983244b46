"""Rows on where and how much: what all mentions of a finding in a report agree on, and codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.tasks.registry import Input
from engine.tasks.values import Place
from engine.tasks.words import PLACES, noun
from training.tasks import mesh
from training.tasks.drafts import REPORT, Draft, statement
from training.tasks.studies import Shelf, Study
from training.vqa import answers

SPOKEN_SIDES = {
    "left": "on the left side",
    "right": "on the right side",
    "bilateral": "on both sides",
}


def from_questions(study: Study, topic: str) -> Iterator[Draft]:
    """Yield the questions on one topic that a study's report answers."""
    for asked in study.questions:
        if answers.topic_of(asked.kind, asked.answer_key) == topic:
            given = {Input.FINDING: noun(asked.finding)}
            key = asked.answer_key
            yield Draft((study.film,), asked.answer, key, REPORT, given, finding=asked.finding)


def side(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the sides of findings, from sentences and from human codes."""
    yield from from_questions(study, "side")
    for draft, place in mesh.places(study):
        text = f"The {draft.given[Input.FINDING]} is {SPOKEN_SIDES[place.side]}."
        yield replace(draft, response=text, value=place.side)


def location(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the regions of findings, from sentences and from human codes."""
    yield from from_questions(study, "region")
    for draft, place in mesh.places(study):
        text = f"The {draft.given[Input.FINDING]} is in the {PLACES[place.region]}."
        yield replace(draft, response=text, value=place.region)


def severity(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the grades of findings, from sentences and from human codes."""
    yield from from_questions(study, "severity")
    yield from mesh.grades(study)


def localise(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield side and region of findings, from sentences and from human codes."""
    yield from (draft for draft, _ in mesh.places(study))
    known: dict[str, dict[str, str]] = {}
    for asked in study.questions:
        topic = answers.topic_of(asked.kind, asked.answer_key)
        known.setdefault(asked.finding, {})[topic] = asked.answer_key
    for finding, topics in known.items():
        if {"side", "region"} <= topics.keys():
            place = Place(topics["side"], topics["region"])
            text = statement(f"{place.side} {PLACES[place.region]}")
            given = {Input.FINDING: noun(finding)}
            yield Draft((study.film,), text, place, REPORT, given, finding=finding)
