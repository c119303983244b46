"""``cxr-labeler``: the fourteen observations of a chest X-ray report, by rules.

Sections first (what was asked is not what was seen), then mention, scope, negation or hedge, and
aggregation over the report: any present mention wins, then any uncertain one, then absent.
"No Finding" holds when the report says something and nothing but devices is left standing.

Developed on the studies whose sha256 of the identifier is even, of the radlabels sample and of the
IU reports; ``docs/explanation/labeler.md`` has the figures on the odd half. Not the CheXpert
labeler nor CheXbert: figures are not comparable with those (observations and states: arXiv
1901.07031, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.findings import FINDINGS
from engine.labels import attributes, cues, sections
from engine.labels.lexicon import EXCLUDED, PHRASES
from engine.labels.normality import NORMAL, OTHER
from engine.labels.patterns import ABSENT, PRESENT, UNCERTAIN

NAME = "cxr-labeler"
VERSION = "1.0"

_STRONGEST_FIRST = (PRESENT, UNCERTAIN, ABSENT)
_NO_MATCHES: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True)
class Mention:
    """One observation where it stands in a report.

    ``span`` are positions in the text as given; ``state`` is 1 present, 0 absent, -1 uncertain;
    ``side``, ``severity`` and ``region`` are None where the words around it do not say;
    ``comparison`` holds when its sentence compares with an earlier study.
    """

    finding: str
    state: float
    sentence: str
    span: tuple[int, int]
    side: str | None
    severity: str | None
    region: str | None
    comparison: bool


def label(text: str) -> tuple[float | None, ...]:
    """Return the fourteen states of a report in the order of `engine.findings.FINDINGS`.

    1.0 present, 0.0 absent, -1.0 uncertain, None not mentioned.
    """
    return aggregate(mentions(text), text)


def aggregate(found: Iterable[Mention], text: str) -> tuple[float | None, ...]:
    """Return the fourteen states that these mentions of a text come to."""
    states: dict[str, set[float]] = {name: set() for name in FINDINGS}
    for mention in found:
        states[mention.finding].add(mention.state)
    merged = {name: _strongest(values) for name, values in states.items()}
    merged["No Finding"] = _no_finding(merged, text)
    return tuple(merged[name] for name in FINDINGS)


def mentions(text: str) -> list[Mention]:
    """Return every mention of the thirteen findings in what the report says was seen."""
    flat = sections.flatten(text)
    return [
        mention
        for start, end in sections.seen(flat)
        for mention in _mentions_of_sentence(text, flat[start:end], start)
    ]


def _mentions_of_sentence(text: str, sentence: str, offset: int) -> Iterator[Mention]:
    masked = cues.blank_out(sentence, cues.MASKED)
    written = text[offset : offset + len(sentence)]
    comparison = attributes.compares(sentence)
    for finding, (start, end), stated in _matches(sentence):
        state = _state(finding, masked, start, end, stated)
        if state is None:
            continue
        around = attributes.windows(sentence, start, end)
        yield Mention(
            finding=finding,
            state=state,
            sentence=written,
            span=(offset + start, offset + end),
            side=attributes.side(around),
            severity=attributes.severity(around),
            region=attributes.region(around),
            comparison=comparison,
        )


def _state(finding: str, masked: str, start: int, end: int, stated: float | None) -> float | None:
    judged = cues.judge(masked, start, end, device=finding == "Support Devices")
    if stated is None or judged is None:
        return judged
    return stated


def _matches(sentence: str) -> Iterator[tuple[str, tuple[int, int], float | None]]:
    """Yield finding, span and stated state of every phrase; the first of a table wins."""
    for finding, phrases in PHRASES.items():
        taken = [
            found.span()
            for pattern in EXCLUDED.get(finding, _NO_MATCHES)
            for found in pattern.finditer(sentence)
        ]
        for phrase in phrases:
            for found in phrase.pattern.finditer(sentence):
                span = found.span()
                if not any(span[0] < end and start < span[1] for start, end in taken):
                    taken.append(span)
                    yield finding, span, phrase.state


def _strongest(states: set[float]) -> float | None:
    return next((state for state in _STRONGEST_FIRST if state in states), None)


def _no_finding(merged: dict[str, float | None], text: str) -> float | None:
    """Return 1 for a report that found nothing, 0 for one that did, None for one that says none."""
    judged = {name: state for name, state in merged.items() if name != "Support Devices"}
    if any(state in (PRESENT, UNCERTAIN) for state in judged.values()):
        return 0.0
    flat = sections.flatten(text)
    sentences = [flat[start:end] for start, end in sections.seen(flat)]
    if any(map(_other_abnormality, sentences)):
        return 0.0
    told = any(state is not None for state in merged.values())
    return 1.0 if told or any(map(NORMAL.search, sentences)) else None


def _other_abnormality(sentence: str) -> bool:
    masked = cues.blank_out(sentence, cues.MASKED)
    states = (cues.judge(masked, *found.span()) for found in OTHER.finditer(sentence))
    return any(state in (PRESENT, UNCERTAIN) for state in states)
