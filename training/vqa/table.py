"""The table of questions: one row a question on one film, one schema for every generator.

``RUN/vqa.parquet`` holds it. A row must be answerable from what it quotes: ``evidence`` is a
substring of the film's cleaned report. Two kinds of row have nothing to quote and say so: a
question on the view (the film's header answers it) and a row whose ``source`` is ``labels`` (a film
without a report, answered by its published labels).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.findings import FINDINGS
from training import parquet
from training.catalog import Film
from training.errors import VqaError
from training.sections import mentions_prior
from training.vqa import answers

KINDS = ("presence", "location", "severity", "appearance", "view")
LABELS = "labels"
RULES = "rules-1"
PLANS = re.compile(
    r"\b(?:recommend\w*|advis(?:e|ed|able)|suggest(?:ed)? (?:follow|further|clinical|correlation)|"
    r"follow[- ]?up|further (?:evaluation|imaging|work-?up)|should be|next step|treat\w*|"
    r"management|correlat(?:e|ion))\b",
    re.IGNORECASE,
)
NOT_WORDS = re.compile(r"\W+")


@dataclass(frozen=True)
class Question:
    """One question on one film.

    ``finding`` is a name of `engine.findings.FINDINGS` or empty; ``answer_key`` the canonical short
    answer (`training.vqa.answers`), empty for an open answer of a language model, which is trained
    on and never scored; ``source`` is ``rules-1``, ``labels`` or the language model's name.
    """

    study_id: str
    patient_id: str
    image_id: str
    split: str
    kind: str
    finding: str
    question: str
    answer: str
    answer_key: str
    evidence: str
    source: str


SCHEMA = pa.schema([pa.field(f.name, pa.string(), nullable=False) for f in fields(Question)])


@dataclass(frozen=True)
class Questions:
    """The rows of a table and, by reason, how many candidates were left out."""

    rows: list[Question]
    dropped: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Question]:
        """Yield the rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the number of rows by kind and split."""
        return dict(Counter((row.kind, row.split) for row in self.rows))


def normalised(question: str) -> str:
    """Return a question without case, punctuation and spacing: equal for duplicates."""
    return NOT_WORDS.sub(" ", question).strip().casefold()


def is_grounded(row: Question, film: Film) -> bool:
    """Tell whether a row quotes the cleaned report, or rightly quotes nothing."""
    if row.evidence == "":
        return row.kind == "view" or (row.source == LABELS and not film.has_report)
    return bool(row.evidence.strip()) and (
        row.evidence in film.findings or row.evidence in film.impression
    )


def belongs_to(row: Question, film: Film) -> bool:
    """Tell whether study, patient and split are those of the film."""
    stated = (row.study_id, row.patient_id, row.split)
    return stated == (film.study_id, film.patient_id, film.split)


def has_fitting_key(row: Question) -> bool:
    """Tell whether the answer gives its canonical answer; only a model's may be open."""
    if not row.answer_key:
        return row.source not in (RULES, LABELS)
    return answers.parse(row.kind, row.answer_key, row.answer) == row.answer_key


def faults(row: Question, film: Film) -> tuple[tuple[str, bool], ...]:
    """Return what can be wrong with a row on a film, and whether it is."""
    spoken = f"{row.question} {row.answer}"
    return (
        ("study, patient or split is not the film's", not belongs_to(row, film)),
        ("unknown kind", row.kind not in KINDS),
        ("unknown finding", row.finding not in ("", *FINDINGS)),
        ("question or answer is empty", not (row.question.strip() and row.answer.strip())),
        ("speaks of another examination", mentions_prior(spoken)),
        ("speaks of what should be done next", PLANS.search(spoken) is not None),
        ("evidence is not in the report", not is_grounded(row, film)),
        ("answer does not give its key", not has_fitting_key(row)),
    )


def reason_to_drop(row: Question, film: Film | None) -> str | None:
    """Return why a row cannot stand in the table, or ``None``; duplicates are not seen here."""
    if film is None:
        return "film is not in the catalog"
    return next((reason for reason, holds in faults(row, film) if holds), None)


def admit(rows: Iterable[Question], films: Mapping[str, Film]) -> Questions:
    """Check candidate rows against their films (by image id) and drop duplicates of a study.

    The first of several equal questions (after `normalised`) on a study stays.
    """
    kept: list[Question] = []
    dropped: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for row in rows:
        identity = (row.study_id, normalised(row.question))
        reason = reason_to_drop(row, films.get(row.image_id))
        if reason is None and identity in seen:
            reason = "same question twice in a study"
        if reason is not None:
            dropped[reason] += 1
            continue
        seen.add(identity)
        kept.append(row)
    return Questions(kept, dict(dropped))


def write(questions: Questions, path: Path) -> None:
    """Write the table aside and rename it, its drop counts in the schema's metadata."""
    rows = [asdict(row) for row in questions.rows]
    parquet.store(rows, path, SCHEMA, {"dropped": questions.dropped})


def read(path: Path) -> Questions:
    """Read a table written by `write`.

    Raises
    ------
    VqaError
        There is none, or its columns are not those of `SCHEMA`.
    """
    if not path.is_file():
        raise VqaError(f"no table of questions at {path}", hint="run `cxr-train vqa` first")
    table = pq.read_table(path)
    if table.schema.names != SCHEMA.names:
        raise VqaError(f"{path} has other columns than {', '.join(SCHEMA.names)}")
    notes = table.schema.metadata or {}
    rows = [Question(**row) for row in table.to_pylist()]
    return Questions(rows, json.loads(notes.get(b"dropped", b"{}")))
