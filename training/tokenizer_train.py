"""Train the VQ-GAN: L1, feature distance, codebook, and a patch discriminator that starts late.

The generator's loss is ``L1 + w_p * features + w_c * codebook + w_a * factor * adversary``,
``w_a`` adaptive (arXiv 2012.09841, eq. 7). The discriminator is its own module with its own
optimizer; before its start only the generator steps, so the codebook settles first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.nets.checkpoints import Checkpoint
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import TOKENIZER
from engine.nets.vqgan import Vqgan
from training import checkpoints, device, loop, losses, order
from training.catalog import Film
from training.config import Recipe
from training.discriminator import PatchDiscriminator

BETAS = (0.5, 0.9)


def codebook_share(codes: Tensor, num_codes: int) -> float:
    """Return the share of the codebook that a batch of codes uses."""
    return codes.unique().numel() / num_codes


class TokenizerLoop:
    """Generator and discriminator, stepped in turn."""

    def __init__(
        self,
        recipe: Recipe,
        films: list[Film],
        images: NDArray[np.uint8],
        features: FilmClassifier,
    ) -> None:
        self.recipe, self.images = recipe, images
        self.settings = recipe.tokenizer
        self.features = features.to(device.best())
        self.rows = np.flatnonzero([film.split == "train" for film in films])
        torch.manual_seed(recipe.seed)
        config = self.settings.net()
        self.device = device.best()
        self.model = device.channels_last(Vqgan(config), self.device)
        critic = PatchDiscriminator(config.in_channels, self.settings.discriminator_channels)
        self.critic = device.channels_last(critic, self.device)
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trainable, betas=BETAS)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), betas=BETAS)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return both networks and both optimizers."""
        return {
            "model": dict(self.model.state_dict()),
            "critic": dict(self.critic.state_dict()),
            "optimizer": checkpoints.flatten_optimizer(self.optimizer),
            "critic_optimizer": checkpoints.flatten_optimizer(self.critic_optimizer),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up both networks and both optimizers."""
        self.model.load_state_dict(checkpoint.part("model"))
        self.critic.load_state_dict(checkpoint.part("critic"))
        checkpoints.restore_optimizer(self.optimizer, checkpoint.part("optimizer"))
        checkpoints.restore_optimizer(self.critic_optimizer, checkpoint.part("critic_optimizer"))

    def batch(self, step: int) -> Tensor:
        """Return the films of a step, [B, C, 256, 256] in [-1, 1]."""
        settings = self.settings
        picks = order.batch_rows(len(self.rows), settings.batch_size, self.recipe.seed, step)
        films = film_tensor(self.images[self.rows[picks]])
        films = films.expand(-1, settings.in_channels, -1, -1)
        return films.to(self.device, memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """Return the precision context of the recipe."""
        return device.autocast(self.device, self.recipe.precision)

    def step(self, step: int) -> dict[str, float]:
        """Do one generator step and, once it has started, one discriminator step."""
        factor = loop.cosine(step, self.settings.steps, warmup=50)
        for optimizer in (self.optimizer, self.critic_optimizer):
            loop.set_learning_rate(optimizer, self.settings.learning_rate * factor)
        films = self.batch(step)
        playing = step >= self.settings.discriminator_start
        figures, drawn = self.generator_step(films, playing)
        if playing:
            figures["critic"] = self.critic_step(films, drawn)
        return figures

    def generator_step(self, films: Tensor, playing: bool) -> tuple[dict[str, float], Tensor]:
        """Step the tokenizer; return its figures and the reconstructions, detached."""
        settings = self.settings
        self.model.train()
        with self.autocast():
            drawn, codebook, codes = self.model(films)
            found = self.features.maps(drawn.mean(1, keepdim=True))
            with torch.no_grad():
                wanted = self.features.maps(films.mean(1, keepdim=True))
        distance = losses.feature_distance(found[1:], wanted[1:])
        l1 = (drawn.float() - films).abs().mean()
        steady = l1 + settings.perceptual_weight * distance
        total = steady + settings.codebook_weight * codebook
        figures = {
            "l1": l1.item(),
            "features": distance.item(),
            "codebook": codebook.item(),
            "codes_used": codebook_share(codes, 1024),
        }
        if playing:
            adversary, weight = self.adversary(drawn, steady)
            total = total + adversary * weight
            figures |= {"adversary": adversary.item(), "weight": weight.item()}
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return figures, drawn.detach()

    def adversary(self, drawn: Tensor, steady: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's adversarial loss and its adaptive weight."""
        self.critic.requires_grad_(False)
        with self.autocast():
            loss = losses.adversarial(self.critic(drawn).float())
        self.critic.requires_grad_(True)
        weight = losses.adaptive_weight(steady, loss, self.model.decoder.conv_out.weight)
        return loss, weight * self.settings.discriminator_weight

    def critic_step(self, films: Tensor, drawn: Tensor) -> float:
        """Step the discriminator on films and their reconstructions."""
        with self.autocast():
            real, fake = self.critic(films), self.critic(drawn)
        loss = losses.hinge_discriminator(real.float(), fake.float())
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        return loss.item()


def train(
    recipe: Recipe,
    films: list[Film],
    images: NDArray[np.uint8],
    features: FilmClassifier,
    run_dir: Path,
    stamp: dict[str, Any],
) -> None:
    """Fit the tokenizer of a recipe, resuming where a run was killed."""
    settings = recipe.tokenizer
    fit = TokenizerLoop(recipe, films, images, features)
    loop.run(fit, run_dir, TOKENIZER, settings.steps, settings.checkpoint_every, stamp)
