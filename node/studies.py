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
    State.RECEIVING: frozenset({State.READY, State.SKIPPED, State.FAILED}),
    State.READY: frozenset({State.RECEIVING, State.RUNNING, State.SKIPPED, State.FAILED}),
    State.RUNNING: frozenset({State.READY, State.DRAFTED, State.SKIPPED, State.FAILED}),
    State.DRAFTED: frozenset({State.DELIVERING, State.DONE, State.FAILED}),
    State.DELIVERING: frozenset({State.DONE, State.FAILED}),
    State.DONE: frozenset({State.DELIVERING}),
    State.SKIPPED: frozenset(),
    State.FAILED: frozenset({State.DELIVERING}),
}
"""A READY study goes back to RECEIVING when an image comes before the draft was begun, a RUNNING
one goes back to READY when its worker died. From the last three only a new generation leads on,
but for a person who has sent once more what was made."""

ROUTINE, STAT = 0, 1
"""Priorities of a study: the greater goes first."""

ENDED = frozenset({State.DONE, State.SKIPPED, State.FAILED})

OPEN_TO_IMAGES = frozenset({State.RECEIVING, State.READY})
"""States in which a late image joins the generation; in any other it makes the next one."""


def may_move(start: State, end: State) -> bool:
    """Tell whether a study may go from one state to another."""
    return end in TRANSITIONS[start]


@dataclass(frozen=True)
class Announced:
    """What a peer said of a study by MPPS or IAN: the images, and whether that is all of them."""

    is_final: bool
    images: frozenset[str]


@dataclass(frozen=True)
class Counted:
    """How many images a peer held of a study, and when it was asked."""

    num_images: int
    asked_at: float


@dataclass(frozen=True)
class Evidence:
    """What is known of a study beside its silence: the images at hand, and what peers say."""

    held: frozenset[str] = frozenset()
    announced: tuple[Announced, ...] = ()
    counted: Counted | None = None


@dataclass(frozen=True)
class Receiving:
    """What the completion rule looks at, in seconds of the clock.

    ``previous_ready_at`` is when an earlier generation was last taken up, if there is one.
    """

    study_uid: str
    generation: int
    first_at: float
    last_at: float
    num_patients: int = 1
    previous_ready_at: float | None = None
    evidence: Evidence = Evidence()
    peer: str = ""
    called_aet: str = ""


@dataclass(frozen=True)
class Closing:
    """The rule's verdict on a study that is complete."""

    study: Receiving
    state: State
    reason: str


def is_announced(evidence: Evidence) -> bool:
    """Tell whether peers have named every image of a study, and exactly those are here.

    A step still in progress may bring more; an image that nobody named shows that not everything
    was announced.
    """
    named = frozenset[str]().union(*(one.images for one in evidence.announced))
    is_final = all(one.is_final for one in evidence.announced)
    return bool(named) and is_final and named == evidence.held


def is_counted(study: Receiving) -> bool:
    """Tell whether a peer, asked after the last image came, holds as many images as are here."""
    counted = study.evidence.counted
    return (
        counted is not None
        and counted.asked_at >= study.last_at
        and counted.num_images == len(study.evidence.held)
    )


def is_complete(study: Receiving, *, now: float, is_open: bool, rule: StudySettings) -> bool:
    """Tell whether a study counts as complete.

    At once where every image that peers announced is here. Else quiet for `quiet_s`, or for the
    shorter `confirmed_quiet_s` where a peer holds as many images, with no open association
    carrying it; and `hard_cap_s` old in any case: no message of DICOM is sure to come, and an
    association may hang. A successor waits until the draft before it is `successor_every_s` old.
    """
    before = study.previous_ready_at
    if before is not None and now - before < rule.successor_every_s:
        return False
    if now - study.first_at >= rule.hard_cap_s or is_announced(study.evidence):
        return True
    quiet_s = rule.confirmed_quiet_s if is_counted(study) else rule.quiet_s
    return not is_open and now - study.last_at >= quiet_s


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
