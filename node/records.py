"""The rows that pass between the ledger and the rest of the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


@dataclass(frozen=True)
class Arrival:
    """A received instance whose file is already safe on disk."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax_uid: str
    patient_digest: str
    content_digest: str
    """BLAKE3 of the transfer syntax and the data set."""
    num_bytes: int
    path: str
    peer: str
    called_aet: str = ""
    """The title of ours that it was sent to; empty where that is none of ours."""


class Recorded(StrEnum):
    """What the ledger made of an arrival."""

    NEW = "new"
    SAME = "same"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class StoredInstance:
    """An instance of a study and where its file lies, relative to the storage root."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    path: str


@dataclass(frozen=True)
class Claim:
    """A study that a worker holds under a lease."""

    study_uid: str
    generation: int
    key: str
    ready_at: float
    attempts: int
    owner: str
    predecessor_digest: str | None = None
    """Bundle that made the report of the generation before; None where there is none."""
    is_stat: bool = False
    """Somebody waits for it: it goes before every other."""
    peer: str = ""
    called_aet: str = ""


@dataclass(frozen=True)
class Stage:
    """A step of the journey and when it ended."""

    name: str
    at: float
    detail: str = ""


@dataclass(frozen=True)
class StoredOutput:
    """An object made by the node, its file already safe on disk."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Prior:
    """The last chest film of a patient before a study; without a path where it was not fetched."""

    study_uid: str
    sop_instance_uid: str
    date: str
    path: str | None


@dataclass(frozen=True)
class Review:
    """What people made of a draft: whether its words are theirs, and what they asked about it."""

    is_edited: bool
    answers: tuple[tuple[str, str], ...] = ()
    """Questions with the answers that the model gave."""


@dataclass(frozen=True)
class ImageReference:
    """An image by its UIDs, as a report refers to it."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class PreviousReport:
    """A report of an earlier study that a reader accepted or edited: of which film, and when."""

    film: ImageReference
    generation: int
    date: str
    verdict: str


@dataclass(frozen=True)
class ShownParts:
    """What the model was shown of a study beside its frontal film."""

    lateral: ImageReference | None = None
    indication: bool = False
    previous: PreviousReport | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> ShownParts:
        """Read what `dataclasses.asdict` made of one; None where an earlier version drafted."""
        if not values:
            return NOTHING_SHOWN
        lateral, before = values["lateral"], values["previous"]
        previous = before and PreviousReport(**{**before, "film": ImageReference(**before["film"])})
        return cls(lateral and ImageReference(**lateral), values["indication"], previous)


NOTHING_SHOWN = ShownParts()

PriorOutcome = Literal["found", "none", "timeout", "error"]


@dataclass(frozen=True)
class PriorAnswer:
    """What the search for a prior film came to, and the milliseconds that it took."""

    outcome: PriorOutcome
    reason: str
    ms: float
    prior: Prior | None = None
    asked: tuple[str, ...] = ()
    """Who was asked for the patient's studies: each is a query for the audit trail."""

    @property
    def detail(self) -> str:
        """Return the answer for the timeline; it names no patient."""
        return f"{self.outcome} in {self.ms:.0f} ms: {self.reason}"


@dataclass(frozen=True)
class Finished:
    """All that a draft leaves behind; committed in one transaction."""

    outputs: tuple[StoredOutput, ...]
    content: dict[str, Any]
    stages: tuple[Stage, ...]
    send: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """For each destination, the kinds of output that go there."""
    withheld: str = ""
    """Why nothing is sent, where that is meant."""


class DeliveryStatus(StrEnum):
    """Where one object stands on its way to one destination."""

    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    PARKED = "parked"


@dataclass(frozen=True)
class Delivery:
    """One object due at one destination."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    generation: int
    destination: str
    kind: str
    path: str
    attempts: int
    deadline_at: float
    sha256: str
    """Of the file, as it was made."""


@dataclass(frozen=True)
class Verdict:
    """What one attempt at a delivery came to; `next_at` is set where it is to be tried again."""

    status: DeliveryStatus
    reason: str = ""
    status_code: int | None = None
    next_at: float | None = None


@dataclass(frozen=True)
class Rejection:
    """An association or instance that was turned away, and what would let it in."""

    kind: str
    calling_aet: str
    address: str
    reason: str
    hint: str = ""
