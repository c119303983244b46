"""The figures of one draft, read from what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from node.meters import (
    DRAFT_SECONDS,
    DRAFTED_AFTER_SECONDS,
    GENERATION_SECONDS,
    STEP_SECONDS,
    TOKENS,
    TOKENS_PER_SECOND,
    Meters,
)
from node.records import Claim, Finished, Stage

STEPS: Final[Mapping[str, str]] = {
    "rendered": "decode",
    "inspected": "guard",
    "prior": "prior",
    "reported": "generate",
    "drawn": "draw",
    "built": "write",
}
"""What the stages of the timeline are called as steps that take time."""


def steps_of(began_at: float, stages: Sequence[Stage]) -> Iterator[tuple[str, float]]:
    """Yield each step of a draft with the seconds since the stage before."""
    before = began_at
    for stage in stages:
        if stage.name in STEPS:
            yield STEPS[stage.name], max(0.0, stage.at - before)
        before = stage.at


def meter_draft(
    meters: Meters, claim: Claim, claimed_at: float, finished: Finished, now: float
) -> None:
    """Count a draft that is in the ledger since `now`."""
    for step, seconds in steps_of(claimed_at, finished.stages):
        meters.observe(STEP_SECONDS, seconds, step)
    meters.observe(DRAFT_SECONDS, now - claimed_at)
    meters.observe(DRAFTED_AFTER_SECONDS, max(0.0, now - claim.ready_at))
    if any(stage.name == "reported" for stage in finished.stages):
        meter_generation(meters, "report", finished.content["report"])
    if finished.content.get("drawing"):
        meter_generation(meters, "drawing", finished.content["drawing"])


def meter_generation(meters: Meters, task: str, provenance: Mapping[str, Any]) -> None:
    """Count what the model wrote, by its own record."""
    bundle = f"{provenance['bundle_name']} {provenance['bundle_version']}"
    labels = (task, bundle, str(provenance["backend"]))
    tokens, seconds = provenance.get("num_tokens", 0), provenance["milliseconds"] / 1000
    meters.count(TOKENS, *labels, amount=tokens)
    meters.count(GENERATION_SECONDS, *labels, amount=seconds)
    if tokens and seconds > 0:
        meters.observe(TOKENS_PER_SECOND, tokens / seconds, *labels)
