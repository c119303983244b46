"""Report text, cleaned: pure functions from a report's sections to what a model may learn.

Three things must not be taught. Redactions (``XXXX`` in the IU set, ``___`` in MIMIC) are not
words. References to earlier examinations cannot be seen in one film, so a model trained on them
invents history. And a sentence emptied by either rule is no sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.study_input import without_age

REDACTION = re.compile(r"\bX{3,}\b\S*|_{2,}\S*", re.IGNORECASE)
WHITESPACE = re.compile(r"\s+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
ENUMERATION = re.compile(r"(?:(?<=\s)|^)\d{1,2}[.)]\s+(?=[A-Za-z])")
PRIOR = re.compile(
    r"\b(?:"
    r"compar(?:ed|ison|ative)\w*|previous(?:ly)?|prior(?:s)?|interval(?:ly)?|unchanged|"
    r"(?:no|without)\s+(?:significant\s+)?change|"
    r"again\s+(?:noted|seen|demonstrated|identified)|"
    r"(?:has|have)\s+(?:\w+\s+)?(?:increased|decreased|improved|resolved|cleared|progressed|worsened)|"
    r"since\s+(?:the\s+)?(?:last|previous|prior|study|exam)|"
    r"(?:old|earlier|last)\s+(?:study|exam|examination|film|radiograph)s?|"
    r"(?:new|stable|persistent|redemonstrat\w+|re-demonstrat\w+)\b(?!\s+york)"
    r")",
    re.IGNORECASE,
)
STABLE_WORD = re.compile(
    r"\b(?:stable|unchanged|persistent|again|redemonstrated)\s+(?=\w)", re.IGNORECASE
)


@dataclass(frozen=True)
class Report:
    """The two sections that a draft holds, cleaned; either may be empty."""

    findings: str
    impression: str

    @property
    def text(self) -> str:
        """Both sections under their headings, as a model is taught to write them."""
        parts = (("Findings", self.findings), ("Impression", self.impression))
        return "\n".join(f"{heading}: {body}" for heading, body in parts if body)


def sentences(text: str) -> list[str]:
    """Split a section into sentences, list numbers removed."""
    flat = ENUMERATION.sub("", WHITESPACE.sub(" ", text).strip())
    return [part.strip() for part in SENTENCE_END.split(flat) if part.strip()]


def is_redacted(sentence: str) -> bool:
    """Tell whether a sentence has lost a word to redaction."""
    return REDACTION.search(sentence) is not None


def drop_stability(sentence: str) -> str:
    """Take the comparison out of a sentence that stands without it ("stable cardiomegaly")."""
    kept = STABLE_WORD.sub("", sentence)
    return kept[:1].upper() + kept[1:]


def mentions_prior(sentence: str) -> bool:
    """Tell whether a sentence speaks of an examination that the film does not show."""
    return PRIOR.search(sentence) is not None


def clean_section(text: str | None) -> str:
    """Return the sentences of a section that one film can support, joined by blanks."""
    kept = []
    for sentence in sentences(text or ""):
        candidate = drop_stability(sentence)
        if not is_redacted(candidate) and not mentions_prior(candidate) and has_words(candidate):
            kept.append(candidate)
    return " ".join(kept)


def clean_indication(text: str | None) -> str:
    """Return the sentences of an indication that say something, without ages or redactions."""
    return clean_section(without_age(text or ""))


def has_words(sentence: str) -> bool:
    """Tell whether anything but punctuation is left."""
    return sum(char.isalpha() for char in sentence) >= 4


def clean_report(findings: str | None, impression: str | None) -> Report:
    """Clean both sections of a report."""
    return Report(clean_section(findings), clean_section(impression))
