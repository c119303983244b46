"""Rows on whether a text belongs to a film: wrong texts are of other patients and cannot be true.

A text that could be true of the film is never a wrong answer: what the text itself says must
contradict what is known of the film (`contradicts`).
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.findings import FINDINGS
from engine.labeler import label, mentions
from engine.tasks.registry import Input
from training.sections import sentences
from training.tasks.drafts import REPORT, Draft, shuffled, tidy
from training.tasks.studies import Shelf, Study
from training.vqa.phrasings import digest

MAX_TEXT, MAX_OPTION, NUM_WRONG = 480, 150, 3
YES, NO = "Yes, the text describes this film.", "No, the text describes another film."


ACUTE = frozenset({"Edema", "Consolidation", "Pneumonia", "Pneumothorax", "Pleural Effusion"})
"""Findings that no text can pass over which calls the film normal, or without acute disease."""


def contradicts(text: str, study: Study) -> bool:
    """Tell whether a text says what cannot be true of a study.

    It asserts what is denied there, denies what is there, or finds nothing where there is
    something acute.
    """
    states = dict(zip(FINDINGS, label(text), strict=True))
    asserted = {name for name in FINDINGS[1:] if states[name] == 1.0}
    denied = {name for name in FINDINGS[1:] if states[name] == 0.0}
    if states["No Finding"] == 1.0:
        denied |= ACUTE
    return bool(asserted & study.absent or denied & study.present)


def whole(study: Study) -> str:
    """Return the cleaned report as running text, empty where it is too long."""
    text = tidy(f"{study.film.findings} {study.film.impression}")
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
    owners = iter((study,)) if own else shelf.others(study, "report")
    texts = (text for text in map(whole, owners) if text and (own or contradicts(text, study)))
    text = next(texts, None)
    if text is not None:
        given = {Input.TEXT: text}
        response = YES if own else NO
        yield Draft((study.film,), response, own, REPORT, given, finding="report")


def match_sentence(study: Study, shelf: Shelf, *, own: bool) -> Iterator[Draft]:
    """Yield the question on a sentence with a finding: one that is there, or one that is denied."""
    wanted = study.present if own else study.absent
    owners = iter((study,)) if own else shelf.others(study, "sentence")
    texts = (text for one in owners for name, text in telling(one).items() if name in wanted)
    text = next(texts, None)
    if text is not None:
        given = {Input.TEXT: text}
        response = YES if own else NO
        yield Draft((study.film,), response, own, REPORT, given, finding="sentence")


def selection(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the film's own impression among three that cannot be true of it.

    One of the options is a normal text wherever that can be: where none is, the right text must
    not be known by being the only one of its kind.
    """
    right = tidy(study.film.impression)
    if not study.is_frontal or not study.is_settled or not 0 < len(right) <= MAX_OPTION:
        return
    texts = (tidy(other.film.impression) for other in shelf.others(study, "selection"))
    found = dict.fromkeys(
        text for text in texts if 0 < len(text) <= MAX_OPTION and contradicts(text, study)
    )
    normal, *others = sorted(found, key=tells) or [""]
    wrong = [normal, *others[-NUM_WRONG + 1 :]]
    if len(wrong) == NUM_WRONG:
        options = shuffled([right, *wrong], study.film.study_id, "selection")
        where = options.index(right)
        yield Draft((study.film,), right, where, REPORT, options=options)


def tells(text: str) -> bool:
    """Tell whether a text asserts a finding."""
    return 1.0 in label(text)[1:]
