"""Train the VQ-GAN: L1, two feature losses, codebook, and a patch discriminator that starts late.

The generator's loss is ``L1 + w_p * perceptual + w_k * clinical + w_c * codebook + w_a * factor *
adversary``, ``w_a`` adaptive (arXiv 2012.09841, eq. 7); ``clinical`` is the squared distance of
the film classifier's pooled features (arXiv 2305.11490, section 3.2). The discriminator is its own
module with its own optimizer; before its start only the generator steps, so the codebook settles
first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.checkpoints import Checkpoint, newest, take_up
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import TOKENIZER, TOKENIZER2
from engine.nets.vqgan import Vqgan
from training import checkpoints, device, loop, losses, order, published
from training.catalog import Film
from training.config import Recipe, TokenizerSection
from training.discriminator import PatchDiscriminator
from training.errors import RecipeError
from training.perceptual import FeatureMaps, load_vgg16

BETAS = (0.5, 0.9)


def codebook_share(codes: Tensor, num_codes: int) -> float:
    """Return the share of the codebook that a batch of codes uses."""
    return codes.unique().numel() / num_codes


def fresh_tokenizer(settings: TokenizerSection) -> Vqgan:
    """Return a tokenizer as training starts it: random, or a taming-transformers checkpoint.

    Such a checkpoint also holds its losses' networks, which are left out; all else must match.
    """
    made = Vqgan(settings.net())
    if settings.init is not None:
        weights = published.read(settings.init, settings.init_sha256)
        kept = {key: value for key, value in weights.items() if not key.startswith("loss.")}
        take_up(made, kept)
    return made


def resized(x: Tensor, size: int) -> Tensor:
    """Return films [B, C, H, H] at another size, antialiased and differentiable."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)


def keep_codes(model: Vqgan) -> None:
    """Freeze everything that codes depend on."""
    for part in (model.encoder, model.quant_conv, model.quantize):
        part.requires_grad_(False)


class TokenizerLoop:
    """Generator and discriminator, stepped in turn."""

    def __init__(
        self,
        recipe: Recipe,
        settings: TokenizerSection,
        films: list[Film],
        images: NDArray[np.uint8],
        features: FilmClassifier,
    ) -> None:
        self.recipe, self.images, self.settings = recipe, images, settings
        self.clinical = device.channels_last(features, device.best())
        self.perceptual: FeatureMaps = self.clinical
        if self.settings.perceptual_weights:
            path, sha256 = self.settings.perceptual_weights, self.settings.perceptual_sha256
            self.perceptual = load_vgg16(path, sha256).to(device.best())
        self.rows = np.flatnonzero([film.split == "train" for film in films])
        torch.manual_seed(recipe.seed)
        config = self.settings.net()
        self.device = device.best()
        self.model = device.channels_last(fresh_tokenizer(self.settings), self.device)
        critic = PatchDiscriminator(config.in_channels, self.settings.discriminator_channels)
        self.critic = device.channels_last(critic, self.device)
        if settings.trained == "decoder":
            keep_codes(self.model)
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
        self.model.decoder.train()
        self.model.quantize.train(settings.trained == "all")
        with self.autocast():
            drawn, codebook, codes = self.model(films)
        perceptual, clinical = self.feature_losses(drawn, films)
        l1 = (drawn.float() - films).abs().mean()
        steady = l1 + settings.perceptual_weight * perceptual
        steady = steady + settings.clinical_weight * clinical
        total = steady + settings.codebook_weight * codebook
        figures = {
            "l1": l1.item(),
            "perceptual": perceptual.item(),
            "clinical": clinical.item(),
            "codebook": codebook.item(),
            "codes_used": codebook_share(codes, self.model.config.num_codes),
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

    def feature_losses(self, drawn: Tensor, films: Tensor) -> tuple[Tensor, Tensor]:
        """Return the perceptual and the clinical distance of reconstructions and films."""
        size = self.feature_size()
        drawn, films = (resized(x.float().mean(1, keepdim=True), size) for x in (drawn, films))
        with self.autocast():
            found = self.clinical.maps(drawn)
            with torch.no_grad():
                wanted = self.clinical.maps(films)
            clinical = losses.clinical_distance(found[-1].mean((2, 3)), wanted[-1].mean((2, 3)))
            if self.perceptual is self.clinical:
                # the last map is what the clinical loss compares
                found, wanted = found[:-1], wanted[:-1]
            else:
                found, wanted = self.perceptual.maps(drawn), self.perceptual.maps(films)
        return losses.feature_distance(found, wanted), clinical

    def feature_size(self) -> int:
        """Draw the size at which films are compared in this step."""
        sizes = self.settings.feature_sizes
        return sizes[int(torch.randint(len(sizes), ()))]

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
    stage: str,
    films: list[Film],
    images: NDArray[np.uint8],
    features: FilmClassifier,
    run_dir: Path,
    stamp: dict[str, Any],
) -> None:
    """Fit the tokenizer of a recipe, resuming where a run was killed.

    A second pass starts from the networks that the first left, with fresh optimizers.

    Raises
    ------
    RecipeError
        The recipe has no such pass.
    """
    settings = {TOKENIZER: recipe.tokenizer, TOKENIZER2: recipe.tokenizer2}[stage]
    if settings is None:
        raise RecipeError(f"recipe {recipe.name} has no {stage}", hint="it has one pass")
    fit = TokenizerLoop(recipe, settings, films, images, features)
    if stage == TOKENIZER2:
        first = newest(run_dir, TOKENIZER)
        fit.model.load_state_dict(first.part("model"))
        fit.critic.load_state_dict(first.part("critic"))
    loop.run(fit, run_dir, stage, settings.steps, settings.checkpoint_every, stamp)
