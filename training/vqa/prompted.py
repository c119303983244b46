"""Questions from a local language model that has read the report: prompt, reading, grounding.

The frame of LLM-CXR's synthetic questions (arXiv 2305.11490, section 3.2 and appendix), with its
gaps closed: the output is parsed, never evaluated; every pair quotes the report and is dropped when
the quote is not there or contradicts the answer; duplicates go; the split is the film's; and what
is lost is counted, study by study and pair by pair.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine.findings import FINDINGS
from engine.tasks.terms import yes_or_no
from training.catalog import Film
from training.sections import Report
from training.vqa import answers
from training.vqa.parsing import OUTPUT_SCHEMA, Pair, Unreadable, pair, parse
from training.vqa.table import Question, Questions, admit

Label = Callable[[str], tuple[float | None, ...]]
"""Reads the fourteen labels of a text, as `engine.labeler.label` does."""

PROMPT_VERSION = "vqa-prompt-1"
ROLE = (
    "You are a radiologist teaching residents to read chest X-rays. The text between the two lines "
    "of equals signs is everything that can be seen on one film. Treat it as the film itself: ask "
    "about what is seen, never about the text or its author."
)
TASK = """\
Write {count} questions on this film, each with its answer.
Ask about different things: whether something is present or absent, where it is, how severe or how \
large it is, what it looks like.
Rules:
- An answer is one or two full sentences. Answer a question on presence with Yes or No first.
- Copy into "evidence", word for word, the part of the text that proves the answer.
- Ask nothing that the text does not answer.
- Never speak of an earlier film, of another examination, or of any change over time.
- Never speak of what should be done next: no advice, no follow-up, no treatment.
Reply with a JSON array and nothing else. Each element is an object with exactly these keys, all \
strings: "question", "answer", "evidence"."""
FENCE = "=" * 24
QUESTION_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("view", r"\b(?:which|what) (?:view|projection)\b|\bfrontal or (?:a )?lateral\b"),
        ("location", r"\bwhere\b|\b(?:which|what) (?:side|lung|lobe|zone|part|region|location)\b"),
        ("severity", r"\bhow (?:large|big|severe|marked|extensive)\b|\bsever(?:e|ity)\b|\bsize\b"),
    )
)


@dataclass(frozen=True)
class Completion:
    """What the model wrote for one study; ``fault`` says why there is nothing, else empty."""

    study_id: str
    output: str
    fault: str = ""


def shown(film: Film) -> str:
    """Return the report that the model is shown: cleaned sections under their headings."""
    return Report(film.findings, film.impression).text


def messages(report: str, num_pairs: int) -> list[dict[str, str]]:
    """Return the chat that asks for pairs on a report."""
    task = TASK.format(count=num_pairs)
    return [
        {"role": "system", "content": ROLE},
        {"role": "user", "content": f"{FENCE}\n{report}\n{FENCE}\n{task}"},
    ]


def prompt_digest(num_pairs: int) -> str:
    """Return a digest of everything in a prompt but the report, the output's schema included."""
    frame = [PROMPT_VERSION, messages("", num_pairs), OUTPUT_SCHEMA]
    return hashlib.sha256(json.dumps(frame, sort_keys=True).encode()).hexdigest()


def asked_films(films: Iterable[Film]) -> list[Film]:
    """Return one film per study that has a report, frontal where there is one, by study id."""
    chosen: dict[str, Film] = {}
    for film in sorted(films, key=lambda f: (f.study_id, f.view != "frontal", f.image_id)):
        if film.has_report:
            chosen.setdefault(film.study_id, film)
    return list(chosen.values())


def kind_of(question: str, answer: str) -> str:
    """Return the kind of a free question: by its words, by a yes or no, else appearance."""
    if yes_or_no(answer):
        return "presence"
    found = (kind for kind, pattern in QUESTION_KINDS if pattern.search(question))
    return next(found, "appearance")


def finding_of(label: Label, question: str) -> str:
    """Return the one finding that a question names, ``""`` for none or several."""
    stated = zip(FINDINGS[1:], label(question)[1:], strict=True)
    named = [name for name, value in stated if value is not None]
    return named[0] if len(named) == 1 else ""


def contradicts(label: Label, row: Question) -> bool:
    """Tell whether the quoted words state the opposite of a yes or no."""
    if row.kind != "presence" or not row.finding:
        return False
    stated = label(row.evidence)[FINDINGS.index(row.finding)]
    return stated in (0.0, 1.0) and (stated == 1.0) != (row.answer_key == "yes")


def to_row(film: Film, made: Pair, label: Label, source: str) -> Question:
    """Return a pair as a row of the table, its kind, finding and canonical answer read off it."""
    question, answer = " ".join(made.question.split()), " ".join(made.answer.split())
    kind = kind_of(question, answer)
    return Question(
        study_id=film.study_id,
        patient_id=film.patient_id,
        image_id=film.image_id,
        split=film.split,
        kind=kind,
        finding=finding_of(label, question),
        question=question,
        answer=answer,
        answer_key=answers.key_of(kind, answer),
        evidence=made.evidence.strip(),
        source=source,
    )


def rows_of(
    film: Film, output: str, label: Label, source: str, dropped: Counter[str]
) -> Iterator[Question]:
    """Yield the rows of one output; count what it loses.

    Raises
    ------
    Unreadable
        The output as a whole cannot be read.
    """
    for item in parse(output):
        made = pair(item)
        if made is None:
            dropped["pair: not exactly question, answer and evidence"] += 1
            continue
        row = to_row(film, made, label, source)
        if contradicts(label, row):
            dropped["pair: evidence contradicts the answer"] += 1
            continue
        yield row


def collect(
    completions: Iterable[Completion], films: Mapping[str, Film], label: Label, source: str
) -> Questions:
    """Turn completions (one a study) into the table; every study has rows or a counted reason.

    ``films`` are the asked films by study id.
    """
    dropped: Counter[str] = Counter()
    kept: list[Question] = []
    for completion in completions:
        film = films[completion.study_id]
        try:
            found = read_study(film, completion, label, source, dropped)
        except Unreadable as fault:
            dropped[f"study: {fault}"] += 1
            continue
        kept += found
        if not found:
            dropped["study: no pair left"] += 1
    return Questions(kept, dict(dropped))


def read_study(
    film: Film, completion: Completion, label: Label, source: str, dropped: Counter[str]
) -> list[Question]:
    """Return the rows of one study, checked and without duplicates; count the lost pairs.

    Raises
    ------
    Unreadable
        The model gave no output, or one that cannot be read.
    """
    if completion.fault:
        raise Unreadable(completion.fault)
    rows = rows_of(film, completion.output, label, source, dropped)
    admitted = admit(rows, {film.image_id: film})
    dropped.update({f"pair: {reason}": n for reason, n in admitted.dropped.items()})
    return admitted.rows
