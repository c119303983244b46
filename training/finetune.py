"""Instruction tuning: causal cross-entropy on responses, packed rows, exact resume.

The loop is the project's own rather than a trainer's because three stages share one resume
mechanism, and because the trainers at hand write checkpoints that a kill can tear and reload a
GPT-NeoX head silently wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.nets.checkpoints import Checkpoint
from engine.nets.load import SFT, TOKENIZER_FILE, load_untied, untied
from engine.vocabulary import Vocabulary
from training import checkpoints, device, loop
from training.base import BaseModel
from training.config import Recipe
from training.instructions import IGNORED
from training.mixture import Mixture, Packed


def supervised_loss(
    model: Any, batch: Packed, vocabulary: Vocabulary, image_weight: float
) -> Tensor:
    """Weighted mean cross-entropy [nats] over the response tokens of a packed batch.

    Logits are computed only where a label stands. Packed rows attend only to themselves: positions
    that restart at zero give the model a block-diagonal mask. A row alone on its line needs none
    but the causal one, padding being on the right, and that path is several times faster.
    """
    positions = None
    if batch.is_packed:
        positions = torch.from_numpy(batch.position_ids).to(model.device)
    hidden = model.model(
        input_ids=torch.from_numpy(batch.input_ids).to(model.device),
        position_ids=positions,
        use_cache=False,
    ).last_hidden_state
    labels = torch.from_numpy(batch.labels)[:, 1:].to(model.device)
    taken = labels != IGNORED
    targets = labels[taken]
    logits = model.get_output_embeddings()(hidden[:, :-1][taken])
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    weights = torch.where(targets >= vocabulary.num_text, image_weight, 1.0)
    return (losses * weights).sum() / weights.sum()


class SftLoop:
    """One AdamW run over a mixture."""

    def __init__(self, recipe: Recipe, base: BaseModel, mixture: Mixture) -> None:
        self.recipe, self.settings = recipe, recipe.sft
        self.model: Any
        self.vocabulary, self.mixture = base.vocabulary, mixture
        self.device = device.best()
        self.model = base.model.to(self.device)  # type: ignore[arg-type]
        self.model.train()
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
        )

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return weights (a tied head only once) and optimizer state."""
        return {
            "model": untied(self.model),
            "optimizer": checkpoints.flatten_optimizer(self.optimizer),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up weights and optimizer state; every tensor must find its place."""
        load_untied(self.model, checkpoint.part("model"))
        checkpoints.restore_optimizer(self.optimizer, checkpoint.part("optimizer"))

    def step(self, step: int) -> dict[str, float]:
        """Do one optimiser step over ``accumulation`` packed batches."""
        settings = self.settings
        loop.set_learning_rate(self.optimizer, settings.learning_rate * self.factor(step))
        self.optimizer.zero_grad()
        total = 0.0
        for part in range(settings.accumulation):
            number = step * settings.accumulation + part
            batch = self.mixture.batch(number, settings.batch_size, settings.max_length)
            with device.autocast(self.device, self.recipe.precision):
                loss = supervised_loss(
                    self.model, batch, self.vocabulary, settings.image_token_weight
                )
            (loss / settings.accumulation).backward()
            total += loss.item() / settings.accumulation
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return {"loss": total, "grad_norm": norm.item()}

    def factor(self, step: int) -> float:
        """Return the learning-rate factor of a step."""
        settings = self.settings
        if settings.schedule == "cosine":
            return loop.cosine(step, settings.steps, settings.warmup_steps)
        return min(1.0, (step + 1) / settings.warmup_steps)


def train(
    recipe: Recipe, base: BaseModel, mixture: Mixture, run_dir: Path, stamp: dict[str, Any]
) -> None:
    """Tune the base model on a mixture, resuming where a run was killed."""
    stage_dir = run_dir / SFT
    stage_dir.mkdir(parents=True, exist_ok=True)
    base.tokenizer.save(str(stage_dir / TOKENIZER_FILE))
    values = {
        **stamp,
        "vocabulary": base.vocabulary.as_json(),
        "architecture": base.model.config.to_dict(),
    }
    settings = recipe.sft
    fit = SftLoop(recipe, base, mixture)
    loop.run(fit, run_dir, SFT, settings.steps, settings.checkpoint_every, values)
