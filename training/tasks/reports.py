"""Rows that write: findings with and without their indication, by section, impressions, lists."""

from __future__ import annotations

from collections.abc import Iterator

from engine.findings import FINDINGS
from engine.labeler import label
from engine.tasks.registry import Input
from engine.tasks.words import spoken
from training.tasks.anatomy import by_section
from training.tasks.drafts import REPORT, Draft, tidy
from training.tasks.studies import Shelf, Study
from training.vqa.phrasings import digest

MAX_CHARACTERS = 640
"""Of a text that is learned to be written, as a draft's length allows."""
MAX_INDICATION = 160


def is_short(text: str) -> bool:
    """Tell whether a text is there and fits in a reply."""
    return 0 < len(text) <= MAX_CHARACTERS


def findings(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the findings of a frontal film."""
    if study.is_frontal and is_short(study.film.findings):
        yield Draft((study.film,), tidy(study.film.findings), None, REPORT)


def findings_with_indication(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the findings of a film whose indication is known and not redacted."""
    indication = study.film.indication
    if study.is_frontal and is_short(study.film.findings) and 0 < len(indication) <= MAX_INDICATION:
        given = {Input.INDICATION: indication}
        yield Draft((study.film,), tidy(study.film.findings), None, REPORT, given)


def findings_by_section(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the findings on each anatomical section that has a sentence of its own."""
    if study.is_frontal:
        for section, text in by_section(study.film.findings).items():
            given = {Input.SECTION: section}
            yield Draft((study.film,), text, None, REPORT, given, finding=section)


def impression(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the impression of a frontal film."""
    if study.is_frontal and is_short(study.film.impression):
        yield Draft((study.film,), tidy(study.film.impression), None, REPORT)


def impression_from_findings(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the impression that follows from findings, without a film."""
    film = study.film
    if is_short(film.findings) and is_short(film.impression):
        yield Draft((), tidy(film.impression), None, REPORT, {Input.TEXT: tidy(film.findings)})


def findings_in_text(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the findings that a section asserts; a text that leaves one open is not asked."""
    film = study.film
    sections = [text for text in (film.findings, film.impression) if is_short(text)]
    if not sections:
        return
    text = sections[digest(film.study_id, "findings-in-text") % len(sections)]
    states = dict(zip(FINDINGS, label(text), strict=True))
    found = frozenset(name for name in FINDINGS[1:] if states[name] == 1.0)
    told = any(states[name] is not None for name in FINDINGS)
    if told and -1.0 not in states.values():
        given = {Input.TEXT: tidy(text)}
        yield Draft((), spoken(found), found, REPORT, given)
