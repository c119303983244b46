"""Rows on the view, from what the source states of each film."""

from __future__ import annotations

from collections.abc import Iterator

from engine.tasks.words import article
from training.catalog import Film
from training.tasks.drafts import HEADER, Draft
from training.tasks.studies import Shelf, Study
from training.vqa.phrasings import digest

PROJECTIONS = {"PA": "PA", "AP": "AP", "AP Supine": "AP"}


def stated_view(film: Film) -> str:
    """Return PA, AP or lateral; empty where a frontal film's projection is not stated."""
    return "lateral" if film.view == "lateral" else PROJECTIONS.get(film.projection, "")


def view(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the view of every film that states it."""
    for film in study.films:
        found = stated_view(film)
        if found:
            text = f"This is {article(found)} {found} film."
            yield Draft((film,), text, found, HEADER)


def view_matching(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield a pair of films: frontal and lateral of one study, or the lateral of another."""
    laterals = [film for film in study.films if film.view == "lateral"]
    if not study.is_frontal or not laterals:
        return
    if digest(study.film.study_id, "view-matching") % 2:
        pair = (study.film, laterals[0])
        yield Draft(pair, "Yes, both films are of one study.", True, HEADER)
        return
    for other in shelf.others(study, "view-matching"):
        foreign = [film for film in other.films if film.view == "lateral"]
        if foreign:
            pair = (study.film, foreign[0])
            yield Draft(pair, "No, the films are of different studies.", False, HEADER)
            return
