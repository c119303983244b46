"""What may be written to a log, or told to a model: nothing that says whose a study is."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from engine.keys import key

__all__ = [
    "field",
    "key",
    "looks_like_a_title",
    "patient_digest",
    "stranger",
    "value",
    "without_identity",
    "without_title",
]

_PLAIN = re.compile(r"[A-Za-z0-9_.:,/@+\-\[\]()]+")
_TITLE = re.compile(r"[A-Za-z0-9_.-]{1,16}")
_SURELY_A_NAME = 4
_DIGITS_OF_AN_IDENTIFIER = 5
_SENTENCE = re.compile(r"(?<=[.;!?])\s+|[\r\n]+")
_WORD = re.compile(r"[^\W\d_]+")
_TOKEN = re.compile(r"(?:[\w@#./+-]*\d[\w@#./+-]*|\S+@\S+)")
_TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|MR|MRS|MS|DR)\b\.?\s+[^\W\d_][\w'’-]*(?:\s+[A-Z][\w'’-]+)?"
)
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b"
)
_MOMENT = re.compile(
    r"\b\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b"
    r"|\b\d{1,2}:\d{2}(?::\d{2})?\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?[\s-]+(?:of\s+)?{_MONTH}\.?(?:,?[\s-]*(?:\d{{4}}|\d\d))?"
    rf"|\b{_MONTH}\.?,?\s+\d{{1,4}}(?:st|nd|rd|th)?\b(?:,?\s+\d{{4}})?"
    r"|\b(?:19|20)\d\d\b",
    re.IGNORECASE,
)
_LOOSE = re.compile(r"(?<!\S)[,.;:!/()\[\]]+(?!\S)|\(\s*\)")
"""Marks that stand alone after what stood beside them is gone."""


def stranger(ae_title: str) -> str:
    """Return the key by which a title that no peer has appears in logs.

    Who calls chooses it freely: it may be a patient's name.
    """
    return f"?{key(ae_title)}" if ae_title else ""


def looks_like_a_title(text: str) -> bool:
    """Tell whether a text may be shown as an AE title: one word, as administrators choose them."""
    return not text or _TITLE.fullmatch(text) is not None


def without_title(text: str, ae_title: str) -> str:
    """Return a hint with the title that it tells to configure replaced by its key."""
    return text.replace(f"ae_title: {ae_title}`", f"ae_title: {stranger(ae_title)}`")


def patient_digest(patient_id: str, issuer: str) -> str:
    """Return a digest that tells two patients in one study apart and names neither."""
    return hashlib.sha256(f"{patient_id.strip()}\0{issuer.strip()}".encode()).hexdigest()


def without_identity(text: str, names: Iterable[str], identifiers: Iterable[str]) -> str:
    """Return a text on a study without what tells whose it is: names, identifiers, dates.

    A sentence is dropped whole where it holds a short name of the patient, for that may also be a
    word of the sentence, as "No" is, and without it the sentence would say something else.

    Parameters
    ----------
    names
        Of the patient and of others whom the header names, as Person Names (PS3.5 6.2).
    identifiers
        Numbers of the patient and of the study.
    """
    parts = {_folded(part) for name in names for part in _parts_of(name)} - {""}
    short = {part for part in parts if 2 <= len(part) < _SURELY_A_NAME and part.isascii()}
    known = {part for part in parts - short if len(part) > 1}
    numbers = {_folded(one) for one in identifiers if _folded(one)}
    timeless = _MOMENT.sub(" ", _TITLED.sub(" ", text))
    cleaned = " ".join(
        sentence
        for sentence in _SENTENCE.split(timeless)
        if not any(_folded(word) in short for word in _WORD.findall(sentence))
    )
    cleaned = _TOKEN.sub(lambda found: _kept_token(found[0], numbers), cleaned)
    cleaned = _WORD.sub(lambda found: _kept_word(found[0], known), cleaned)
    return " ".join(_LOOSE.sub(" ", cleaned).split())


def _parts_of(name: str) -> Iterator[str]:
    """Yield the words of family, given and middle name, in every way that they are written."""
    for group in name.replace("\\", "=").split("="):
        yield from _WORD.findall(" ".join(group.split("^")[:3]))


def _folded(text: str) -> str:
    """Return letters and digits alone, without case and accents."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(char for char in plain if char.isalnum())


def _kept_token(token: str, numbers: Collection[str]) -> str:
    """Return a token with digits, nothing where it is an identifier or long enough to be one."""
    is_long = sum(char.isdigit() for char in token) >= _DIGITS_OF_AN_IDENTIFIER
    return " " if is_long or "@" in token or _folded(token) in numbers else token


def _kept_word(word: str, known: Collection[str]) -> str:
    folded = _folded(word)
    foreign = (name for name in known if not name.isascii())
    return " " if folded in known or any(name in folded for name in foreign) else word


def value(given: object) -> bool | int | float | str:
    """Return one value of a log line as JSON holds it; no more digits than `field` writes."""
    match given:
        case bool() | int():
            return given
        case float():
            return round(given, 3) if math.isfinite(given) else str(given)
    return str(given)


def field(value: object) -> str:
    """Render one value of a log line: no control characters, quoted where it holds spaces."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)
