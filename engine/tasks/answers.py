"""Replies read: text to a typed value, or `UNPARSABLE`. Nothing is guessed, repaired or drawn.

A reply that names no answer, or two that exclude each other, is unparsable and hence wrong (the
published CheXbench scorer draws an option at random there, which rewards silence; arXiv
2401.12208). Each kind of answer has one reader in `READERS`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence

from engine import labeler
from engine.findings import FINDINGS
from engine.labels.patterns import PRESENT, UNCERTAIN
from engine.tasks import terms
from engine.tasks.terms import Terms
from engine.tasks.values import UNPARSABLE, Box, Place, Reading
from engine.tasks.words import LETTERS, NOUNS


class Answer(enum.Enum):
    """The kinds of answer."""

    YES_NO = "yes or no"
    VIEW = "PA, AP or lateral"
    CHOICE = "one of the options"
    SUBSET = "those of the options that hold"
    FINDINGS = "findings"
    SIDE = "left, right or bilateral"
    REGION = "a region of the lung"
    PLACE = "side and region"
    SEVERITY = "mild, moderate or severe"
    BOXES = "boxes in percent"
    PROGRESS = "improving, stable or worsening"
    SECTION_TEXT = "sentences of a report"
    TEXT = "free text"


LETTER = re.compile(rf"^\W*(?:(?:[Oo]ption|[Aa]nswer)\W+)?\(?([{LETTERS}])(?:[).:,](?!\w)|\s*$)")
"""A letter that stands as an answer: in brackets, with a stop or alone ("A film …" is none)."""
BOX = re.compile(
    r"\(\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*\)\s*,\s*"
    r"\(\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*\)"
)
SEPARATOR = re.compile(r"[,;.]|\band\b")
NONE = re.compile(r"\W*(?:none(?: of (?:these|them|the options))?|no findings?|nothing)\W*", re.I)
NEGATED = re.compile(r"\b(?:no|not|neither|without|n't)\b", re.IGNORECASE)
Options = Sequence[str]


def _yes_no(reply: str, options: Options) -> Reading:
    said = terms.yes_or_no(reply)
    return said == "yes" if said else UNPARSABLE


def _view(reply: str, options: Options) -> Reading:
    beams = terms.terms_in(terms.PROJECTION, reply)
    beams += [word for word in ("lateral",) if terms.VIEW[word].search(reply)]
    return beams[0] if len(beams) == 1 else UNPARSABLE


def _choice(reply: str, options: Options) -> Reading:
    if reply in options:
        return options.index(reply)
    letter = LETTER.match(reply)
    if letter and LETTERS.index(letter.group(1)) < len(options):
        return LETTERS.index(letter.group(1))
    said = reply.casefold()
    named = [place for place, option in enumerate(options) if _bare(option) in said]
    whole = [p for p in named if not any(p != q and _holds(options, q, p) for q in named)]
    return whole[0] if len(whole) == 1 else UNPARSABLE


def _bare(option: str) -> str:
    """Return an option as it is looked for: without case and final stop."""
    return option.casefold().strip(" .")


def _holds(options: Options, longer: int, shorter: int) -> bool:
    """Tell whether one option's text contains another's."""
    return _bare(options[shorter]) in _bare(options[longer])


def _subset(reply: str, options: Options) -> Reading:
    if NONE.fullmatch(reply):
        return frozenset()
    left, found = reply.casefold(), set[str]()
    for option in sorted(options, key=len, reverse=True):
        pattern = re.compile(rf"(?<!\w){re.escape(_bare(option))}(?!\w)")
        if pattern.search(left):
            found.add(option)
            left = pattern.sub(",", left)
    for part in filter(None, (part.strip(" ()") for part in SEPARATOR.split(left))):
        if part.upper() not in LETTERS[: len(options)] or len(part) > 1:
            return UNPARSABLE
        found.add(options[LETTERS.index(part.upper())])
    return frozenset(found) if found else UNPARSABLE


def _findings(reply: str, options: Options) -> Reading:
    """Read names, nouns, or else sentences by the labeler."""
    if NONE.fullmatch(reply):
        return frozenset()
    parts = [part.strip().casefold() for part in re.split(r"[,;.]|\band\b", reply)]
    named = [_FINDING_OF.get(part) for part in parts if part]
    if named and None not in named:
        return frozenset(name for name in named if name)
    states = labeler.label(reply)
    if all(state is None for state in states):
        return UNPARSABLE
    pairs = zip(FINDINGS[1:], states[1:], strict=True)
    return frozenset(name for name, state in pairs if state in (PRESENT, UNCERTAIN))


_FINDING_OF = {
    spelling.casefold(): name
    for name, noun in NOUNS.items()
    for spelling in (name, noun.singular, noun.plural)
    if spelling
}


def _one_of(family: Terms) -> Reader:
    """Return the reader of one term of a family."""

    def read_term(reply: str, options: Options) -> Reading:
        said = "" if NEGATED.search(reply) else terms.one_term(family, reply)
        return said or UNPARSABLE

    return read_term


def _place(reply: str, options: Options) -> Reading:
    if NEGATED.search(reply) or len(terms.terms_in(terms.REGION, reply)) > 1:
        return UNPARSABLE
    found = Place(terms.one_term(terms.SIDE, reply), terms.one_term(terms.REGION, reply))
    return found if found.side or found.region else UNPARSABLE


def _boxes(reply: str, options: Options) -> Reading:
    found = tuple(Box(*map(float, each)) for each in BOX.findall(reply))
    if not found:
        return () if terms.first_word(reply) in ("no", "none") else UNPARSABLE
    return found if all(box.is_proper for box in found) else UNPARSABLE


def _progress(reply: str, options: Options) -> Reading:
    without = terms.PROGRESS["stable"].sub("stable", reply)
    if NEGATED.search(without):
        return UNPARSABLE
    return terms.one_term(terms.PROGRESS, without) or UNPARSABLE


def _text(reply: str, options: Options) -> Reading:
    words = " ".join(reply.split())
    return words if any(map(str.isalnum, words)) else UNPARSABLE


Reader = Callable[[str, Options], Reading]
READERS: Mapping[Answer, Reader] = {
    Answer.YES_NO: _yes_no,
    Answer.VIEW: _view,
    Answer.CHOICE: _choice,
    Answer.SUBSET: _subset,
    Answer.FINDINGS: _findings,
    Answer.SIDE: _one_of(terms.SIDE),
    Answer.REGION: _one_of(terms.REGION),
    Answer.PLACE: _place,
    Answer.SEVERITY: _one_of(terms.SEVERITY),
    Answer.BOXES: _boxes,
    Answer.PROGRESS: _progress,
    Answer.SECTION_TEXT: _text,
    Answer.TEXT: _text,
}


def read(kind: Answer, reply: str, options: Options = ()) -> Reading:
    """Read a reply as an answer of a kind; ``options`` are those that were given with it."""
    return READERS[kind](reply, options)
