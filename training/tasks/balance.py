"""Answers balanced: as many yes as no, and no answer so common that giving it always pays.

Which rows go is decided by hash, so a second run keeps the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from engine.tasks.answers import Answer
from engine.tasks.registry import TASKS
from training.tasks.matching import tells
from training.tasks.table import Example
from training.vqa.phrasings import digest

Groups = dict[str, list[Example]]
Keep = Callable[[Groups], list[Example]]


def equal(groups: Groups) -> list[Example]:
    """Keep as many rows of each answer as there are of the rarest."""
    count = min(map(len, groups.values())) if len(groups) > 1 else 0
    return [row for rows in groups.values() for row in rows[:count]]


def capped(share: float) -> Keep:
    """Return what keeps the commonest answer to a share of the rows, or to the second commonest."""

    def keep(groups: Groups) -> list[Example]:
        sizes = {key: len(rows) for key, rows in groups.items()}
        while len(sizes) > 1:
            second, most = sorted(sizes, key=lambda key: (sizes[key], key))[-2:]
            others = sum(sizes.values()) - sizes[most]
            allowed = max(int(share * others / (1 - share)), sizes[second])
            if sizes[most] <= allowed:
                break
            sizes[most] = allowed
        return [row for key, rows in groups.items() for row in rows[: sizes[key]]]

    return keep


HALF, THIRD, TENTH = capped(1 / 2), capped(1 / 3), capped(1 / 10)
KEEP: Mapping[Answer, Keep] = {
    Answer.YES_NO: equal,
    Answer.VIEW: equal,
    Answer.CHOICE: HALF,
    Answer.SUBSET: THIRD,
    Answer.FINDINGS: THIRD,
    Answer.SIDE: HALF,
    Answer.REGION: HALF,
    Answer.PLACE: HALF,
    Answer.SEVERITY: HALF,
    Answer.BOXES: HALF,
    Answer.PROGRESS: HALF,
    Answer.SECTION_TEXT: TENTH,
    Answer.TEXT: TENTH,
}


def group_of(row: Example) -> tuple[str, ...]:
    """Return the group within which a row's answer is balanced: yes and no for each finding."""
    is_yes_no = TASKS[row.task].answer is Answer.YES_NO
    # what a text says cannot be told from the question, so these are balanced as a whole
    return (row.task, row.split, row.source, row.finding if is_yes_no else "")


def answer_of(row: Example) -> str:
    """Return what is balanced: the answer, of a choice the option's text.

    Of whole texts it is whether the right one tells a finding: else the normal text always wins.
    """
    if row.task == "image-text-selection":
        return "finding" if tells(row.response) else "normal"
    if TASKS[row.task].answer is Answer.CHOICE:
        return row.options[int(row.answer_key)]
    return row.answer_key or row.response


def balanced(rows: Iterable[Example], dropped: Counter[str]) -> list[Example]:
    """Return the rows that are kept, in order; what goes is counted."""
    ordered = list(rows)
    groups: dict[tuple[str, ...], Groups] = {}
    for row in sorted(ordered, key=lambda r: digest(r.study_id, r.task, r.instruction)):
        groups.setdefault(group_of(row), {}).setdefault(answer_of(row), []).append(row)
    kept: set[Example] = set()
    for (task, *_), group in groups.items():
        chosen = KEEP[TASKS[task].answer](group)
        kept.update(chosen)
        dropped[f"{task}: not needed for the balance"] += sum(map(len, group.values())) - len(
            chosen
        )
    return [row for row in ordered if row in kept]
