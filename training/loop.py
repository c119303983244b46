"""The shape that every torch loop here shares: resume, step, log, checkpoint.

A loop is an object with ``parts()`` (named tensors to save), ``restore(checkpoint)`` and
``step(step)`` (one optimiser step, returning figures). Everything random comes from torch's
generator, which is part of the checkpoint, and from `training.order`, which needs none: so a
killed run continues bit for bit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.nets.checkpoints import Checkpoint, latest
from training import checkpoints
from training.parallel import World
from training.progress import RunLog, Silence

ALONE = World()


class Loop(Protocol):
    """One stage of training, a step at a time."""

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return every tensor that a resumed run needs, by part."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a checkpoint."""
        ...

    def step(self, step: int) -> dict[str, float]:
        """Do one optimiser step and return its figures."""
        ...


def cosine(step: int, num_steps: int, warmup: int, floor: float = 0.05) -> float:
    """Return the learning-rate factor: linear warm-up, then a cosine down to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def run(
    loop: Loop,
    run_dir: Path,
    stage: str,
    num_steps: int,
    checkpoint_every: int,
    stamp: dict[str, Any],
    world: World = ALONE,
) -> None:
    """Train from the newest checkpoint (or from nothing) to ``num_steps``.

    Of several processes the first writes log and checkpoints; all help to gather what is saved.
    """
    stage_dir = run_dir / stage
    found = latest(stage_dir)
    if found is not None:
        loop.restore(found)
        checkpoints.restore_random_state(found.part("random"))
    first = found.step if found else 0
    with RunLog(stage_dir, stage, num_steps, first) if world.is_main else Silence() as log:
        for step in range(first, num_steps):
            log.step(step, loop.step(step))
            if (step + 1) % checkpoint_every == 0 or step + 1 == num_steps:
                parts = {**loop.parts(), "random": checkpoints.random_state()}
                if world.is_main:
                    checkpoints.save(stage_dir, step + 1, parts, stamp)
                world.wait()


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set one learning rate for all of an optimizer's parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value
