"""What happens in the node, counted where it happens: a thin port that knows no monitoring system.

The parts of the node are handed something that counts, as they are handed a clock. What stands in
the ledger is not counted here: it is read there (`node.standing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True)
class Meter:
    """Something that is counted or measured.

    Labels have few values: peers and destinations of the configuration, and words of ours.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram; a counter has none."""


_STEP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_STUDY_S = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 1800.0)
_TRANSACTION_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_TOKENS_PER_S = (5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)

ASSOCIATIONS: Final = Meter(
    "cxr_associations_accepted_total", "Associations that were accepted.", ("peer",)
)
ASSOCIATIONS_REFUSED: Final = Meter(
    "cxr_associations_refused_total",
    "Associations that were refused: calling_aet, called_aet, context, limit or tls.",
    ("reason",),
)
ASSOCIATIONS_ABORTED: Final = Meter(
    "cxr_associations_aborted_total",
    "Associations that broke: the peer was gone, was too slow, or broke the protocol.",
)
INSTANCES: Final = Meter(
    "cxr_instances_total",
    "Instances that came by C-STORE: new, same, conflict, refused (our rules) or failed (disk).",
    ("peer", "outcome"),
)
RECEIVED_BYTES: Final = Meter(
    "cxr_received_bytes_total", "Bytes of data sets that were taken in.", ("peer",)
)
STUDIES: Final = Meter(
    "cxr_drafting_outcomes_total",
    "Studies that a worker was through with: drafted, skipped, failed or postponed.",
    ("outcome",),
)
STEP_SECONDS: Final = Meter(
    "cxr_draft_step_seconds",
    "Steps of a draft: prior, decode, guard, generate (encoding included), draw, write.",
    ("step",),
    _STEP_S,
)
DRAFT_SECONDS: Final = Meter(
    "cxr_draft_seconds", "From the claim of a study to its draft in the ledger.", (), _STEP_S
)
DRAFTED_AFTER_SECONDS: Final = Meter(
    "cxr_drafted_after_seconds",
    "From the moment that a study was complete to its draft in the ledger.",
    (),
    _STUDY_S,
)
TOKENS: Final = Meter(
    "cxr_generated_tokens_total", "Tokens that the model wrote.", ("task", "bundle", "backend")
)
GENERATION_SECONDS: Final = Meter(
    "cxr_generation_seconds_total",
    "Seconds in which the model wrote them, its look at the film included.",
    ("task", "bundle", "backend"),
)
TOKENS_PER_SECOND: Final = Meter(
    "cxr_generation_tokens_per_second",
    "Tokens per second of each text.",
    ("task", "bundle", "backend"),
    _TOKENS_PER_S,
)
DELIVERY_ATTEMPTS: Final = Meter(
    "cxr_delivery_attempts_total",
    "Attempts to deliver an object, by what came of them: sent, pending (again later) or parked.",
    ("destination", "status"),
)
TRANSACTION_SECONDS: Final = Meter(
    "cxr_ledger_transaction_seconds",
    "Transactions of the ledger, the wait for the lock included: read or write.",
    ("kind",),
    _TRANSACTION_S,
)
INFERENCE_STARTS: Final = Meter(
    "cxr_inference_starts_total", "Times that the process of the model was started."
)

METERS: Final = (
    ASSOCIATIONS,
    ASSOCIATIONS_REFUSED,
    ASSOCIATIONS_ABORTED,
    INSTANCES,
    RECEIVED_BYTES,
    STUDIES,
    STEP_SECONDS,
    DRAFT_SECONDS,
    DRAFTED_AFTER_SECONDS,
    TOKENS,
    GENERATION_SECONDS,
    TOKENS_PER_SECOND,
    DELIVERY_ATTEMPTS,
    TRANSACTION_SECONDS,
    INFERENCE_STARTS,
)
"""Every meter of the node."""


class Meters(Protocol):
    """Takes note of what happens; thread-safe."""

    def count(self, meter: Meter, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter; labels in the order of the meter's."""

    def observe(self, meter: Meter, value: float, *labels: str) -> None:
        """Add a value to a histogram."""


class NoMeters:
    """Takes no note."""

    def count(self, meter: Meter, *labels: str, amount: float = 1.0) -> None:
        """Do nothing."""

    def observe(self, meter: Meter, value: float, *labels: str) -> None:
        """Do nothing."""


NO_METERS: Final = NoMeters()
