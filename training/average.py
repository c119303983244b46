"""One language model out of several that share a start: the weighted mean of their weights.

What was tuned on from one start lies in one basin, and a mean of it is often better than any of its
members (arXiv 2203.05482, section 2); with the start itself among them it keeps more of what
tuning takes away (arXiv 2109.01903, section 3). Inference costs what one model costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch

from engine.nets.checkpoints import Checkpoint, newest
from engine.nets.load import AVERAGE, TOKENIZER_FILE
from training import checkpoints
from training.errors import TrainingError
from training.stages import Run

SAME = ("architecture", "vocabulary", "data_manifest")


@dataclass(frozen=True)
class Member:
    """A stage of a run, and how much it counts."""

    run_dir: Path
    stage: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``RUN/STAGE=SHARE``.

        Raises
        ------
        TrainingError
            It is nothing like that, or the share is not above zero.
        """
        path, _, share = text.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        where = Path(path)
        if not (0 < value < float("inf") and where.name):
            raise TrainingError(
                f"{text!r} names no model and its share", hint="as in runs/demo/sft4=0.5"
            )
        return cls(where.parent, where.name, value)

    def checkpoint(self) -> Checkpoint:
        """Return the stage's newest checkpoint."""
        return newest(self.run_dir, self.stage)

    def tokenizer(self) -> bytes:
        """Return the stage's tokenizer."""
        return (self.run_dir / self.stage / TOKENIZER_FILE).read_bytes()


def average(run: Run, members: list[Member]) -> Path:
    """Write the mean of some models as the last stage of a run; return its checkpoint.

    Shares are divided by their sum. The checkpoint names every member: its stage, step, share, and
    what it was trained with.

    Raises
    ------
    TrainingError, CheckpointError
        Members are fewer than two, differ in more than their weights, or have no checkpoint.
    """
    if len(members) < 2:
        raise TrainingError("a mean takes two models or more", hint="name each by --of")
    total = sum(member.share for member in members)
    first, tokenizer = members[0].checkpoint(), members[0].tokenizer()
    # one after another: with their optimisers all of them may not fit the memory
    read = chain([first], (member.checkpoint() for member in members[1:]))
    mean = {name: torch.zeros_like(value) for name, value in first.part("model").items()}
    told = []
    for member, found in zip(members, read, strict=True):
        check_like(first, found, tokenizer == member.tokenizer())
        for name, value in found.part("model").items():
            mean[name] += value * (member.share / total)
        told.append(account(member, found, member.share / total))
    stamp = run.taught_stamp() | {name: first.values[name] for name in SAME}
    stage_dir = run.run_dir / AVERAGE
    stage_dir.mkdir(parents=True, exist_ok=True)
    (stage_dir / TOKENIZER_FILE).write_bytes(tokenizer)
    step = max(one["step"] for one in told)
    values = {**stamp, "averaged": told}
    return checkpoints.save(stage_dir, step, {"model": mean}, values, keep=1)


def check_like(first: Checkpoint, other: Checkpoint, is_same_text: bool) -> None:
    """Refuse two models that cannot be averaged.

    Raises
    ------
    TrainingError
        They differ in architecture, vocabulary, tokenizer or the films that they learned from.
    """
    unlike = [name for name in SAME if first.values.get(name) != other.values.get(name)]
    if not is_same_text:
        unlike.append("tokenizer")
    if unlike:
        raise TrainingError(
            f"models that differ in {', '.join(unlike)} have no mean",
            hint="average stages that were tuned on from one start",
        )


def account(member: Member, found: Checkpoint, share: float) -> dict[str, Any]:
    """Return what a mean says of one of its members; no folder, for those name nothing."""
    return {
        "stage": member.stage,
        "step": found.step,
        "share": round(share, 4),
        "settings": found.values["recipe"].get(member.stage),
        "training_commit": found.values["training_commit"],
    }
