"""Instruction tuning: causal cross-entropy on responses, packed rows, exact resume.

The loop is the project's own rather than a trainer's because three stages share one resume
mechanism, because the trainers at hand write checkpoints that a kill can tear and reload a GPT-NeoX
head silently wrong, and because sharding through them cannot be tested on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.nets.checkpoints import Checkpoint
from engine.nets.load import TOKENIZER_FILE, load_untied, untied
from training import device, loop, lora, order
from training.base import BaseModel
from training.config import Recipe, SftSection
from training.mixture import Mixture, Packed
from training.parallel import World, world
from training.placement import Copied, Placement, Sharded
from training.supervised import Supervised, tensors

PREFIX = "causal."


def recompute_activations(causal: Any) -> None:
    """Let a model keep no activations: less memory, a third more work."""
    causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def trainable(base: BaseModel, settings: SftSection) -> Supervised:
    """Return the model as a stage trains it: whole or through adapters, ready for its loss."""
    causal: Any = base.model
    if settings.activation_checkpointing:
        recompute_activations(causal)
    if settings.lora is not None:
        causal.enable_input_require_grads()
        causal = lora.adapt(causal, settings.lora)
    return Supervised(causal, base.vocabulary, settings.image_token_weight)


def decoder_layers(net: Supervised) -> list[torch.nn.Module]:
    """Return the repeated blocks, the units of sharding."""
    return list(net.plain.base_model.layers)


def make_optimizer(net: torch.nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW; vectors (norms and biases) do not decay."""
    learned = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


@dataclass
class SftLoop:
    """One AdamW run over a mixture, on one process or several."""

    recipe: Recipe
    base: BaseModel
    mixture: Mixture
    world: World

    def __post_init__(self) -> None:
        """Place the model and give it an optimizer."""
        self.settings = self.mixture.builder.settings
        self.device = device.best()
        self.net = trainable(self.base, self.settings).to(self.device).train()
        self.placement: Placement = self.placed()
        self.optimizer = make_optimizer(self.placement.net, self.settings.weight_decay)

    def placed(self) -> Placement:
        """Return the model where the recipe wants it."""
        if self.world.size > 1 and self.settings.parallel == "fsdp":
            return Sharded(self.net, decoder_layers(self.net), self.recipe.precision)
        return Copied(self.net, self.world)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return weights as any loader wants them, what resuming needs, and optimizer state."""
        if self.settings.lora is not None:
            optimizer = self.placement.optimizer_state(self.optimizer)
            folded = untied(lora.merged(self.net.causal))
            adapters = lora.trained(self.net.causal)
            return {"model": folded, "adapters": adapters, "optimizer": optimizer}
        return whole_model(self.base, self.placement, self.optimizer)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up weights and optimizer state; every tensor must find its place."""
        if self.settings.lora is not None:
            lora.restore(self.net.causal, checkpoint.part("adapters"))
        elif isinstance(self.placement, Sharded):
            state = {PREFIX + key: value for key, value in checkpoint.part("model").items()}
            self.placement.load_weights(state)
        else:
            load_untied(self.base.model, checkpoint.part("model"))
        self.placement.load_optimizer_state(self.optimizer, checkpoint.part("optimizer"))

    def step(self, step: int) -> dict[str, float]:
        """Do one optimiser step over this process's share of the global batch."""
        settings = self.settings
        loop.set_learning_rate(self.optimizer, settings.learning_rate * self.factor(step))
        numbers = np.asarray(self.mixture.numbers(step), dtype=np.int64)
        mine = order.rank_rows(numbers, self.world.rank, self.world.size)
        batches = self.mixture.batches(mine.tolist(), settings.accumulation)
        parts = [tensors(batch, self.device) for batch in batches]
        weight = self.world.total(torch.stack([self.net.weight_of(p[1]) for p in parts]).sum())
        self.optimizer.zero_grad()
        losses = [self.backward(part, weight) for part in parts]
        norm = torch.nn.utils.clip_grad_norm_(self.placement.net.parameters(), 1.0)
        self.optimizer.step()
        loss = self.world.total(torch.stack(losses).sum())
        figures = {"loss": loss.item(), "grad_norm": float(whole(norm))}
        return figures | self.left_out(batches)

    def left_out(self, batches: Sequence[Packed]) -> dict[str, float]:
        """Return how many parts of studies found no room in their rows, where a recipe has any."""
        if not self.settings.parts:
            return {}
        count = torch.tensor(float(sum(batch.num_left_out for batch in batches)))
        return {"parts_left_out": self.world.total(count.to(self.device)).item()}

    def backward(self, part: tuple[Tensor, Tensor, Tensor | None], weight: Tensor) -> Tensor:
        """Add a part's gradients; return its share of the mean loss.

        Wrappers average gradients over processes; the factor turns that into the sum it must be.
        """
        with device.autocast(self.device, self.recipe.precision):
            loss = self.placement.call(*part) / weight
        (loss * self.world.size).backward()
        return loss.detach()

    def factor(self, step: int) -> float:
        """Return the learning-rate factor of a step."""
        settings = self.settings
        if settings.schedule == "cosine":
            return loop.cosine(step, settings.steps, settings.warmup_steps)
        return min(1.0, (step + 1) / settings.warmup_steps)


def whole_model(
    base: BaseModel, placement: Placement, optimizer: torch.optim.Optimizer
) -> dict[str, dict[str, Tensor]]:
    """Return weights as any loader wants them, and optimizer state."""
    state = {name.removeprefix(PREFIX): value for name, value in placement.weights().items()}
    return {
        "model": untied(base.model, state),
        "optimizer": placement.optimizer_state(optimizer),
    }


def whole(value: Tensor) -> Tensor:
    """Return a tensor that may be sharded as a plain one."""
    gather = getattr(value, "full_tensor", None)
    return gather() if gather is not None else value


def begun(base: BaseModel, stage_dir: Path, stamp: dict[str, Any]) -> dict[str, Any]:
    """Write the tokenizer of a stage; return what its checkpoints say beside their tensors."""
    stage_dir.mkdir(parents=True, exist_ok=True)
    base.tokenizer.save(str(stage_dir / TOKENIZER_FILE))
    return {
        **stamp,
        "vocabulary": base.vocabulary.as_json(),
        "architecture": base.model.config.to_dict(),
    }


def train(
    recipe: Recipe,
    base: BaseModel,
    mixture: Mixture,
    run_dir: Path,
    stage: str,
    stamp: dict[str, Any],
) -> None:
    """Tune a model on a mixture as ``stage``, resuming where a run was killed."""
    values = begun(base, run_dir / stage, stamp)
    settings = mixture.builder.settings
    with world() as peers:
        fit = SftLoop(recipe, base, mixture, peers)
        loop.run(fit, run_dir, stage, settings.steps, settings.checkpoint_every, values, peers)
