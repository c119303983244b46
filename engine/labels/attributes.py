"""Side, severity, region and comparison of a mention, from the words around it."""

from __future__ import annotations

import re

from engine.labels.cues import REACH

SIDES = {
    "bilateral": r"bilateral(?:ly)?|both|bibasilar|bibasal|biapical|bihilar",
    "left": r"left|lingula\w*",
    "right": r"right",
}
SEVERITIES = {
    "severe": r"sever\w+|large|massive|marked\w*|extensive|gross\w*|substantial\w*|big",
    "moderate": r"moderate\w*",
    "mild": r"mild\w*|minimal\w*|small|tiny|trace|slight\w*|subtle|minor|minute|borderline",
}
REGIONS = {
    "apex": r"apex|apices|apical|biapical",
    "upper": r"upper (?:lung|lobes?|zones?)",
    "middle": r"(?:middle|mid) (?:lung|lobes?|zones?)|mid|lingula\w*",
    "lower": r"lower (?:lung|lobes?|zones?)",
    "base": r"bas(?:e|es|al|ilar)|bibasilar|bibasal|costophrenic",
    "perihilar": r"perihilar|hil(?:ar|um|a)|bihilar",
    "retrocardiac": r"retrocardiac",
}
_COMPARISON = re.compile(
    r"\b(?:unchanged|stable|again|interval(?:ly)?|previous(?:ly)?|prior|compared|comparison|remains?|"
    r"persist\w*|improv\w+|worsen\w*|progress\w*|resol(?:ved|ving|ution)|new|newly|decreas\w+|"
    r"(?:has|have|is|are|slightly|mildly|now)\s+increas\w+|increased\s+(?:since|from|compared|in)|"
    r"no\s+(?:\w+\s+)?change|longstanding|chronic)\b"
)
_BREAK = re.compile(r"[,;:]|\b(?:and|with|but|or|without|which)\b")


def _table(words: dict[str, str]) -> dict[str, re.Pattern[str]]:
    spaced = {name: pattern.replace(" ", r"\s+") for name, pattern in words.items()}
    return {name: re.compile(rf"\b(?:{pattern})\b") for name, pattern in spaced.items()}


_SIDES, _SEVERITIES, _REGIONS = map(_table, (SIDES, SEVERITIES, REGIONS))


def windows(sentence: str, start: int, end: int) -> tuple[str, str]:
    """Return the words of the mention with those before it, and those after, in its own phrase."""
    first, last = max(0, start - REACH), min(len(sentence), end + REACH)
    breaks = [found.end() for found in _BREAK.finditer(sentence, first, start)]
    stop = _BREAK.search(sentence, end, last)
    return (
        sentence[breaks[-1] if breaks else first : end],
        sentence[end : stop.start() if stop else last],
    )


def _first(table: dict[str, re.Pattern[str]], texts: tuple[str, str]) -> str | None:
    hits = (name for text in texts for name, pattern in table.items() if pattern.search(text))
    return next(hits, None)


def side(texts: tuple[str, str]) -> str | None:
    """Return left, right, bilateral or None; left and right together are bilateral."""
    for text in texts:
        if _SIDES["left"].search(text) and _SIDES["right"].search(text):
            return "bilateral"
    return _first(_SIDES, texts)


def severity(texts: tuple[str, str]) -> str | None:
    """Return the gravest severity stated, words before the mention first."""
    return _first(_SEVERITIES, texts)


def region(texts: tuple[str, str]) -> str | None:
    """Return the region of the lung stated, words before the mention first."""
    return _first(_REGIONS, texts)


def compares(sentence: str) -> bool:
    """Tell whether a flattened sentence compares with an earlier study."""
    return _COMPARISON.search(sentence) is not None
