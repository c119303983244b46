"""One run of preference tuning: trees in, a checkpoint that any loader takes out.

The loop is the project's own, as that of instruction tuning is: one resume mechanism, and a prompt
is computed once for all of its answers, which no trainer at hand does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.nets.checkpoints import Checkpoint
from engine.nets.load import load_untied
from training import device, loop, order
from training.align import reference
from training.align.branches import Forest, Role, Scored, Tree, plant
from training.align.losses import Answers, Compared
from training.align.methods import METHODS
from training.align.watch import Watch
from training.base import BaseModel
from training.config import AlignSection, Recipe
from training.finetune import begun, make_optimizer, recompute_activations, whole_model
from training.parallel import World, world
from training.placement import Copied


def num_steps(num_trees: int, settings: AlignSection) -> int:
    """Return the optimiser steps of a run; the last batch of an epoch may reach into the next."""
    return max(1, round(settings.epochs * num_trees / settings.batch_size))


def compared(forest: Forest, policy: Tensor, start: Tensor) -> Compared:
    """Sort the answers of a batch by role; ``policy`` and ``start`` are log-probabilities [K]."""
    return Compared(
        *(
            Answers(policy[picked], start[picked], forest.lengths[picked])
            for picked in (forest.roles == role for role in Role)
        )
    )


@dataclass
class AlignLoop:
    """One AdamW run over preferences, on one process or several."""

    recipe: Recipe
    base: BaseModel
    trees: Sequence[Tree]
    world: World
    scores_dir: Path
    watch: Watch | None

    def __post_init__(self) -> None:
        """Place the model, ask the start, and make an optimizer."""
        self.settings, self.device = self.recipe.align, device.best()
        self.method = METHODS[self.settings.method]
        causal: Any = self.base.model
        if self.settings.activation_checkpointing:
            recompute_activations(causal)
        self.net = Scored(causal).to(self.device).train()
        self.starts = self.asked_start()
        self.placement = Copied(self.net, self.world)
        self.optimizer = make_optimizer(self.net, self.settings.weight_decay)
        self.num_steps = num_steps(len(self.trees), self.settings)

    def asked_start(self) -> list[reference.Floats]:
        """Return the reference's log-probabilities of every tree; zeros where none is wanted.

        Several processes ask one after the other, so that only the first computes.
        """
        if not self.method.has_reference:
            return [np.zeros(len(tree.branches), np.float32) for tree in self.trees]
        asked = self.trees, self.device, self.recipe.precision, self.scores_dir
        if self.world.is_main:
            found = reference.remembered(self.net, *asked)
        self.world.wait()
        return found if self.world.is_main else reference.remembered(self.net, *asked)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return weights as any loader wants them, and optimizer state."""
        return whole_model(self.base, self.placement, self.optimizer)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up weights and optimizer state."""
        load_untied(self.base.model, checkpoint.part("model"))
        self.placement.load_optimizer_state(self.optimizer, checkpoint.part("optimizer"))

    def step(self, step: int) -> dict[str, float]:
        """Do one optimiser step over this process's share of the global batch."""
        settings = self.settings
        factor = loop.cosine(step, self.num_steps, round(settings.warmup * self.num_steps))
        loop.set_learning_rate(self.optimizer, settings.learning_rate * factor)
        rows = order.batch_rows(len(self.trees), settings.batch_size, self.recipe.seed, step)
        mine = order.rank_rows(rows, self.world.rank, self.world.size)
        found = self.judged(mine.tolist())
        losses = self.method.loss(found, settings)
        count = self.world.total(torch.tensor(float(len(losses)), device=self.device))
        self.optimizer.zero_grad()
        (losses.sum() * self.world.size / count).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        loss = self.world.total(losses.detach().sum()) / count
        return {
            "loss": loss.item(),
            "grad_norm": norm.item(),
            **told(found, settings.beta),
            **self.watched(step),
        }

    def judged(self, rows: Sequence[int]) -> Compared:
        """Return what the policy and the start say of the answers of some trees."""
        trees = [self.trees[row] for row in rows]
        start = torch.from_numpy(np.concatenate([self.starts[row] for row in rows]))
        forest = plant(trees).to(self.device)
        with device.autocast(self.device, self.recipe.precision):
            policy = self.placement.call(forest)
        found = compared(forest, policy, start.to(self.device))
        return replace(found, others=self.pooled(found.others))

    def pooled(self, others: Answers) -> Answers:
        """Return answers to other films as one, of all processes: their mean is all that counts."""
        moved = others.ratio.detach()
        counts = torch.stack([moved.sum(), torch.tensor(float(len(moved)), device=moved.device)])
        total, count = self.world.total(counts)
        mean_moved = (total / count.clamp(min=1))[None]
        return Answers(mean_moved, torch.zeros_like(mean_moved), torch.ones_like(mean_moved))

    def watched(self, step: int) -> dict[str, float]:
        """Return what the policy writes now, where a checkpoint is due."""
        due = (step + 1) % self.settings.checkpoint_every == 0 or step + 1 == self.num_steps
        if self.watch is None or not due:
            return {}
        return self.watch.look(self.base.model)


@torch.no_grad()
def told(found: Compared, beta: float) -> dict[str, float]:
    """Return what people look at while it goes: rewards, their margin and how often it is right.

    Without a reference a reward is the log-probability itself, times beta.
    """
    chosen, rejected = beta * found.chosen.ratio, beta * found.rejected.ratio
    figures = {
        "reward_chosen": mean(chosen),
        "reward_rejected": mean(rejected),
        "chosen_nats_a_token": -mean(found.chosen.mean),
    }
    if len(chosen) == len(rejected):
        figures |= {
            "margin": mean(chosen - rejected),
            "accuracy": mean((chosen > rejected).float()),
        }
    return figures


def mean(values: Tensor) -> float:
    """Return the mean, NaN of nothing."""
    return float(values.float().mean())


def align(
    recipe: Recipe,
    base: BaseModel,
    trees: Sequence[Tree],
    run_dir: Path,
    stage: str,
    stamp: dict[str, Any],
    watch: Watch | None = None,
) -> None:
    """Tune a model on preferences as ``stage``, resuming where a run was killed."""
    values = {**begun(base, run_dir / stage, stamp), "preferences": len(trees)}
    scores_dir = (run_dir / stage).parent
    with world() as peers:
        fit = AlignLoop(recipe, base, trees, peers, scores_dir, watch)
        every = recipe.align.checkpoint_every
        loop.run(fit, run_dir, stage, fit.num_steps, every, values, peers)
