"""The life of a study: its states, the moves between them, and when it counts as complete.

Pure: no clock, no disk. The ledger asks here before it moves a study.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from node.config import StudySettings


class State(StrEnum):
    """Where one generation of a study stands."""

    RECEIVING = "RECEIVING"
    READY = "READY"
    RUNNING = "RUNNING"
    DRAFTED = "DRAFTED"
    DELIVERING = "DELIVERING"
    DONE = "DONE"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.RECEIVING: frozenset({State.READY, State.FAILED}),
    State.READY: frozenset({State.RECEIVING, State.RUNNING, State.FAILED}),
    State.RUNNING: frozenset({State.READY, State.DRAFTED, State.SKIPPED, State.FAILED}),
    State.DRAFTED: frozenset({State.DELIVERING, State.DONE, State.FAILED}),
    State.DELIVERING: frozenset({State.DONE, State.FAILED}),
    State.DONE: frozenset(),
    State.SKIPPED: frozenset(),
    State.FAILED: frozenset(),
}
"""A READY study goes back to RECEIVING when an image comes before the draft was begun, a RUNNING
one goes back to READY when its worker died. From the last three only a new generation leads on."""

OPEN_TO_IMAGES = frozenset({State.RECEIVING, State.READY})
"""States in which a late image joins the generation; in any other it makes the next one."""


def may_move(start: State, end: State) -> bool:
    """Tell whether a study may go from one state to another."""
    return end in TRANSITIONS[start]


@dataclass(frozen=True)
class Receiving:
    """What the completion rule looks at, in seconds of the clock."""

    study_uid: str
    generation: int
    first_at: float
    last_at: float
    num_patients: int = 1


@dataclass(frozen=True)
class Closing:
    """The rule's verdict on a study that is complete."""

    study: Receiving
    state: State
    reason: str


def is_complete(study: Receiving, *, now: float, is_open: bool, rule: StudySettings) -> bool:
    """Tell whether a study counts as complete.

    Quiet for `quiet_s` with no open association carrying it, or `hard_cap_s` old in any case:
    no message of DICOM says that a study is complete, and an association may hang.
    """
    if now - study.first_at >= rule.hard_cap_s:
        return True
    return not is_open and now - study.last_at >= rule.quiet_s


def close_quiet_studies(
    studies: Iterable[Receiving],
    *,
    now: float,
    open_study_uids: frozenset[str],
    rule: StudySettings,
) -> tuple[Closing, ...]:
    """Return the studies that leave RECEIVING, each with its next state."""
    return tuple(
        _close(study)
        for study in studies
        if is_complete(study, now=now, is_open=study.study_uid in open_study_uids, rule=rule)
    )


def _close(study: Receiving) -> Closing:
    if study.num_patients > 1:
        return Closing(study, State.FAILED, "images of more than one patient in the study")
    return Closing(study, State.READY, "")
