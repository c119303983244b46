"""What a table of instruction rows holds, by task and split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from training.evaluate.report_tables import row as markdown_row
from training.tasks.table import Example, Examples

CountTokens = Callable[[str], int]
COLUMNS = ("task", "split", "rows", "films", "patients", "answers", "commonest answer", "tokens")


@dataclass(frozen=True)
class Line:
    """The counts of one task in one split; ``mean_tokens`` of its text is None without tokenizer.

    ``commonest`` is the answer given most often and ``share`` how often that is.
    """

    task: str
    split: str
    num_rows: int
    num_films: int
    num_patients: int
    num_answers: int
    commonest: str
    share: float
    mean_tokens: float | None

    def cells(self) -> list[str]:
        """Return the line as text."""
        tokens = "" if self.mean_tokens is None else f"{self.mean_tokens:.0f}"
        common = f"{100 * self.share:.0f} % {self.commonest}"
        counts = (self.num_rows, self.num_films, self.num_patients, self.num_answers)
        return [self.task, self.split, *map(str, counts), common, tokens]


def said(row: Example) -> str:
    """Return a row's answer as a word or two; of a choice the option."""
    key = json.loads(row.answer_key) if row.answer_key else row.response
    if isinstance(key, int) and not isinstance(key, bool):
        return row.options[key]
    shown = ", ".join(map(str, key)) if isinstance(key, list) else key
    text = {True: "yes", False: "no"}.get(key, str(shown)) if isinstance(key, bool) else str(shown)
    return text or "none"


def lines(examples: Examples, count_tokens: CountTokens | None = None) -> list[Line]:
    """Return one line a task and split."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for one in examples:
        groups.setdefault((one.task, one.split), []).append(one)
    return [
        line(task, split, groups[task, split], count_tokens)
        for task in examples.tasks()
        for split in ("train", "val")
        if (task, split) in groups
    ]


def line(task: str, split: str, rows: Sequence[Example], count: CountTokens | None) -> Line:
    """Return the counts of some rows."""
    answers = Counter(map(said, rows))
    commonest, times = min(answers.items(), key=lambda item: (-item[1], item[0]))
    spoken = [f"{row.instruction}\n{row.text}\n{row.response}" for row in rows]
    return Line(
        task=task,
        split=split,
        num_rows=len(rows),
        num_films=len({image for row in rows for image in row.image_ids}),
        num_patients=len({row.patient_id for row in rows}),
        num_answers=len(answers),
        commonest=commonest[:40],
        share=times / len(rows),
        mean_tokens=float(np.mean([count(text) for text in spoken])) if count else None,
    )


def shown(found: Sequence[Line]) -> Table:
    """Return lines as a table for a terminal."""
    table = Table(*COLUMNS)
    for one in found:
        table.add_row(*one.cells())
    return table


def store(found: Sequence[Line], examples: Examples, folder: Path) -> None:
    """Write ``statistics.json`` and ``statistics.md``, licences and drop counts with them."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        "tasks": [asdict(one) for one in found],
        "weights": examples.weights,
        "licences": examples.licences(),
        "dropped": examples.dropped,
    }
    text = json.dumps(stored, indent=1, ensure_ascii=False) + "\n"
    (folder / "statistics.json").write_text(text, encoding="utf-8")
    rows = [markdown_row(list(COLUMNS)), markdown_row(["---"] * len(COLUMNS))]
    rows += [markdown_row(one.cells()) for one in found]
    (folder / "statistics.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
