"""What a reader makes of a draft: the form, its rules, and the row that training reads. Pure.

The form follows the reader study of CheXagent: what was done with the draft, why (content or
style), whether it answers the indication, whether it saved time, and how long it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from node.errors import NodeError
from node.redact import key

Verdict = Literal["accept", "edit", "reject"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

REASONS: Final[Mapping[str, str]] = {
    "omission": "a finding is missing",
    "false_finding": "a finding is not there",
    "wrong_location": "wrong side or place",
    "wrong_severity": "wrong severity or size",
    "wrong_comparison": "wrong comparison with earlier films",
    "other_content": "other content",
    "style": "style: wording, order, length",
}
"""Why a draft was edited or rejected: content first, style last."""

_MAX_SENTENCES = 60
_MAX_CHARACTERS = 1000
_MAX_NOTE = 2000
_DAY_S = 86_400.0
_SCALE: Final = range(1, 6)


class FeedbackRefused(NodeError):
    """The feedback is not taken."""


@dataclass(frozen=True)
class Feedback:
    """A reader's verdict on the draft of one generation."""

    study_uid: str
    generation: int
    verdict: Verdict
    reasons: tuple[str, ...]
    by: str
    at: float
    findings: tuple[str, ...] | None = None
    impression: tuple[str, ...] | None = None
    answers_indication: int | None = None
    saves_time: int | None = None
    seconds: float | None = None
    note: str = ""


def sentences(text: str) -> tuple[str, ...]:
    """Return the lines of a section, one sentence a line, printable and trimmed.

    Raises
    ------
    FeedbackRefused
        There are too many, or one is too long for an item of a report.
    """
    lines = tuple(line for each in text.splitlines() if (line := _line(each)))
    if len(lines) > _MAX_SENTENCES or any(len(line) > _MAX_CHARACTERS for line in lines):
        hint = f"{_MAX_SENTENCES} lines of {_MAX_CHARACTERS} characters at most"
        raise FeedbackRefused("the edited text is too long", hint=hint)
    return lines


def _line(text: str) -> str:
    """Return a text on one printable line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def read_form(
    form: Mapping[str, Sequence[str]],
    content: Mapping[str, Any],
    *,
    study_uid: str,
    generation: int,
    by: str,
    now: float,
) -> Feedback:
    """Return the feedback that a form holds.

    Parameters
    ----------
    content
        The draft that was shown: what an edit must differ from.

    Raises
    ------
    FeedbackRefused
        The form contradicts itself or leaves out what it must say.
    """
    verdict = _verdict(form)
    reasons = tuple(reason for reason in REASONS if reason in form.get("reason", ()))
    if verdict != "accept" and not reasons:
        raise FeedbackRefused("no reason is given", hint="tick at least one reason")
    if verdict == "accept" and not _is_as_drafted(form, content):
        raise FeedbackRefused("the text was changed", hint="choose edit, or undo the changes")
    findings, impression = _edit(form, content) if verdict == "edit" else (None, None)
    return Feedback(
        study_uid,
        generation,
        verdict,
        reasons,
        by,
        now,
        findings,
        impression,
        _grade(form, "answers_indication"),
        _grade(form, "saves_time"),
        _seconds(form, now),
        _line(_first(form, "note"))[:_MAX_NOTE],
    )


def _first(form: Mapping[str, Sequence[str]], name: str) -> str:
    values = form.get(name) or ("",)
    return values[0]


def _text(form: Mapping[str, Sequence[str]], name: str) -> str:
    """Return a section: the lines of a text area, or a list of sentences."""
    return "\n".join(form.get(name, ()))


def _verdict(form: Mapping[str, Sequence[str]]) -> Verdict:
    chosen = _first(form, "verdict")
    for verdict in VERDICTS:
        if verdict == chosen:
            return verdict
    raise FeedbackRefused("no verdict is given", hint="choose accept, edit or reject")


def _edit(
    form: Mapping[str, Sequence[str]], content: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return both sections as edited: not empty, and not what they were.

    One that the form leaves out is the draft's: nobody deleted it.
    """
    findings, impression = (
        sentences(_text(form, name) if name in form else "\n".join(content[name]))
        for name in ("findings", "impression")
    )
    edited = findings, impression
    if not any(edited):
        raise FeedbackRefused("the edited draft is empty", hint="reject it instead")
    if _is_as_drafted(form, content):
        raise FeedbackRefused("the text is as it was", hint="change it, or accept the draft")
    return edited


def _is_as_drafted(form: Mapping[str, Sequence[str]], content: Mapping[str, Any]) -> bool:
    """Tell whether the sections of a form are the draft's; those that are left out count so."""
    sections = ("findings", "impression")
    given = {name: sentences(_text(form, name)) for name in sections if name in form}
    return all(lines == sentences("\n".join(content[name])) for name, lines in given.items())


def _grade(form: Mapping[str, Sequence[str]], name: str) -> int | None:
    text = _first(form, name)
    return int(text) if text in map(str, _SCALE) else None


def _seconds(form: Mapping[str, Sequence[str]], now: float) -> float | None:
    """Return how long the page was open, as far as its form can be believed."""
    try:
        seconds = now - float(_first(form, "opened_at"))
    except ValueError:
        return None
    return round(seconds, 1) if 0 <= seconds <= _DAY_S else None


def training_row(row: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of the export: no identity of the patient, and not the reader's note.

    Parameters
    ----------
    row
        A row of the table `feedback`.
    content
        The draft that it is about (`result.content`).
    """
    report = content["report"]
    kept = ("generation", "verdict", "reasons", "answers_indication", "saves_time", "seconds")
    edited = None
    if row["findings"] is not None:
        edited = {"findings": row["findings"], "impression": row["impression"]}
    return {
        "study": key(row["study_uid"]),
        "film": key(content["source"]),
        **{name: row[name] for name in kept},
        "bundle": report["bundle_digest"],
        "bundle_name": report.get("bundle_name", ""),
        "bundle_version": report.get("bundle_version", ""),
        "prompt_version": report["prompt_version"],
        "draft": {"findings": content["findings"], "impression": content["impression"]},
        "edited": edited,
        "at": row["at"],
    }
