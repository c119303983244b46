"""The table of instruction rows: one schema for every task and every source.

``RUN/instructions.parquet`` holds it. A row's response must read back as its answer key by the very
reader that serves (`engine.tasks.answers`); what does not is dropped and counted, never repaired.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.tasks.answers import Answer, read
from engine.tasks.registry import TASKS
from engine.tasks.values import UNPARSABLE, as_json
from training import parquet
from training.errors import TaskTableError

FILE = "instructions.parquet"
MAX_WORDS = 320
"""Of instruction, text and response together: more finds no room beside a film."""


@dataclass(frozen=True)
class Example:
    """One instruction with its answer.

    ``image_ids`` in the order of the task's films, empty for text alone; ``text`` is the prompt's
    input where there is no film; ``answer_key`` the answer as JSON (`engine.tasks.values.as_json`),
    empty where the response itself is what is scored; ``finding`` what the
    question names (or its kind), never the answer: baselines know it.
    """

    task: str
    study_id: str
    patient_id: str
    image_ids: tuple[str, ...]
    split: str
    finding: str
    instruction: str
    text: str
    options: tuple[str, ...]
    response: str
    answer_key: str
    licence: str
    source: str

    @property
    def is_free_text(self) -> bool:
        """Tell whether the response itself is what is scored."""
        return TASKS[self.task].answer in (Answer.SECTION_TEXT, Answer.TEXT)


LISTS = ("image_ids", "options")
SCHEMA = pa.schema(
    [
        pa.field(f.name, pa.list_(pa.string()) if f.name in LISTS else pa.string(), nullable=False)
        for f in fields(Example)
    ]
)


@dataclass(frozen=True)
class Examples:
    """The rows of a table, each task's weight in a mixture, and what was left out and why."""

    rows: list[Example]
    weights: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Example]:
        """Yield the rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def licences(self, split: str = "train") -> dict[str, int]:
        """Return the number of rows of a split under each licence, without remarks in brackets."""
        names = (row.licence.partition(" (")[0] for row in self if row.split == split)
        return dict(sorted(Counter(names).items()))

    def tasks(self) -> list[str]:
        """Return the tasks that there are rows of, in the order of the registry."""
        found = {row.task for row in self}
        return [name for name in TASKS if name in found]


def key_of(value: Any) -> str:
    """Return a value as an answer key."""
    return json.dumps(as_json(value), ensure_ascii=False)


def faults(row: Example) -> tuple[tuple[str, bool], ...]:
    """Return what can be wrong with a row, and whether it is."""
    task = TASKS[row.task]
    spoken = f"{row.instruction} {row.text} {row.response}"
    said = read(task.answer, row.response, row.options)
    return (
        ("licence is not stated", not row.licence.strip()),
        ("too long", len(spoken.split()) > MAX_WORDS),
        ("number of films is not the task's", len(row.image_ids) != task.num_films),
        ("response is unreadable", said is UNPARSABLE),
        ("response does not give its key", not row.is_free_text and key_of(said) != row.answer_key),
    )


def admit(rows: Iterable[Example]) -> Examples:
    """Check rows; of equal instructions on the same films the first stays.

    Raises
    ------
    TaskTableError
        A patient stands in two splits.
    """
    kept: list[Example] = []
    dropped: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        identity = (row.task, row.study_id, *row.image_ids, row.instruction, row.text)
        reason = next((reason for reason, holds in faults(row) if holds), None)
        if reason is None and identity in seen:
            reason = "same instruction twice on a film"
        if reason is not None:
            dropped[f"{row.task}: {reason}"] += 1
            continue
        seen.add(identity)
        kept.append(row)
    check_splits(kept)
    return Examples(kept, dropped=dict(dropped))


def check_splits(rows: Iterable[Example]) -> None:
    """Refuse rows of one patient in two splits.

    Raises
    ------
    TaskTableError
        With how many patients there are.
    """
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.patient_id, set()).add(row.split)
    shared = sum(len(found) > 1 for found in splits.values())
    if shared:
        raise TaskTableError(f"{shared} patients stand in two splits of the instruction rows")


def write(examples: Examples, path: Path, notes: dict[str, Any] | None = None) -> None:
    """Write the table aside and rename it; weights, drop counts and notes in its metadata."""
    rows = [asdict(row) for row in examples.rows]
    told = {"weights": examples.weights, "dropped": examples.dropped, **(notes or {})}
    parquet.store(rows, path, SCHEMA, told)


def read_table(path: Path) -> Examples:
    """Read a table written by `write`.

    Raises
    ------
    TaskTableError
        There is none, or its columns are not those of `SCHEMA`.
    """
    if not path.is_file():
        raise TaskTableError(
            f"no instruction rows at {path}", hint="run `cxr-train instructions build` first"
        )
    table = pq.read_table(path)
    if table.schema.names != SCHEMA.names:
        raise TaskTableError(f"{path} has other columns than {', '.join(SCHEMA.names)}")
    notes = {name.decode(): json.loads(value) for name, value in table.schema.metadata.items()}
    return Examples(
        [example_of(row) for row in table.to_pylist()], notes["weights"], notes["dropped"]
    )


def example_of(row: dict[str, Any]) -> Example:
    """Return a stored row as an example."""
    lists: dict[str, Sequence[str]] = {name: tuple(row[name]) for name in LISTS}
    return Example(**{**row, **lists})


def provenance(path: Path) -> dict[str, Any]:
    """Return what a checkpoint must say of the table that lies at a path: tasks and licences."""
    found = read_table(path)
    return {"instructions": {"tasks": list(found.weights), "licences": found.licences()}}
