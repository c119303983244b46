"""Rows on whether a text belongs to a film: wrong texts are of other patients and cannot be true.

A text from a film with the same findings would fit as well, so it is never a wrong answer: what is
known of the two studies must contradict (`training.tasks.studies.Study.contradicts`).
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.labeler import mentions
from engine.tasks.registry import Input
from training.sections import sentences
from training.tasks.drafts import REPORT, Draft, shuffled
from training.tasks.studies import Shelf, Study
from training.vqa.phrasings import digest

MAX_TEXT, MAX_OPTION, NUM_WRONG = 480, 150, 3
YES, NO = "Yes, the text describes this film.", "No, the text describes another film."


def whole(study: Study) -> str:
    """Return the cleaned report as running text, empty where it is too long."""
    text = f"{study.film.findings} {study.film.impression}".strip()
    return text if len(text) <= MAX_TEXT else ""


def telling(study: Study) -> dict[str, str]:
    """Return, by finding, a sentence that asserts one finding and nothing else."""
    found: dict[str, str] = {}
    for sentence in sentences(f"{study.film.findings} {study.film.impression}"):
        named = {mention.finding for mention in mentions(sentence) if mention.state == 1.0}
        if len(named) == 1 and named <= study.present and len(sentence) <= MAX_OPTION:
            found.setdefault(named.pop(), sentence)
    return found


def matching(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield yes or no on a whole report and on one sentence."""
    if not study.is_frontal or not study.has_report or not study.is_settled:
        return
    salt = digest(study.film.study_id, "matching")
    yield from match_report(study, shelf, own=bool(salt % 2))
    yield from match_sentence(study, shelf, own=bool(salt // 2 % 2))


def match_report(study: Study, shelf: Shelf, *, own: bool) -> Iterator[Draft]:
    """Yield the question on a whole report, the film's own or one that contradicts it."""
    found = study if own else next(shelf.contrasts(study, "report"), None)
    if found is not None and whole(found):
        given = {Input.TEXT: whole(found)}
        response = YES if own else NO
        yield Draft((study.film,), response, own, REPORT, given, finding="report")


def match_sentence(study: Study, shelf: Shelf, *, own: bool) -> Iterator[Draft]:
    """Yield the question on a sentence with a finding: one that is there, or one that is denied."""
    wanted = study.present if own else study.absent
    owners = iter((study,)) if own else shelf.contrasts(study, "sentence")
    texts = (text for one in owners for name, text in telling(one).items() if name in wanted)
    text = next(texts, None)
    if text is not None:
        given = {Input.TEXT: text}
        response = YES if own else NO
        yield Draft((study.film,), response, own, REPORT, given, finding="sentence")


def selection(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the film's own impression among three that cannot be true of it."""
    right = study.film.impression
    if not study.is_frontal or not study.is_settled or not 0 < len(right) <= MAX_OPTION:
        return
    wrong: list[str] = []
    for other in shelf.contrasts(study, "selection"):
        text = other.film.impression
        if 0 < len(text) <= MAX_OPTION and text not in (right, *wrong) and other.is_settled:
            wrong.append(text)
        if len(wrong) == NUM_WRONG:
            options = shuffled([right, *wrong], study.film.study_id, "selection")
            where = options.index(right)
            yield Draft((study.film,), right, where, REPORT, options=options)
            return
