"""Who trains: this project's loops, TRL's trainer, and a tokenizer's loop as one first writes it.

A contender is asked for a round: it starts afresh, takes one step to warm up and then so many that
count, and tells the seconds of those. What it held is let go before the next one begins.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, models
from torch import Tensor
from trl import SFTConfig, SFTTrainer

from benchmarks.training_model import Language, random_films
from engine.nets.classifier import film_tensor
from training import device, losses, order
from training.classifier import fresh_classifier
from training.config import Recipe
from training.discriminator import PatchDiscriminator
from training.finetune import SftLoop
from training.parallel import World
from training.tokenizer_train import BETAS, TokenizerLoop, fresh_tokenizer

NUM_FILMS = 64


def now_s() -> float:
    """Return the time at which all that was asked for has been done."""
    if device.best().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def let_go() -> None:
    """Free what the contender before held, cycles included."""
    gc.collect()
    if device.best().type == "cuda":
        torch.cuda.empty_cache()


def timed(step: Callable[[int], object], first: int, count: int) -> float:
    """Take a step that does not count and ``count`` that do; return the seconds of those."""
    step(first)
    began = now_s()
    for number in range(first + 1, first + 1 + count):
        step(number)
    return now_s() - began


def sft(language: Language, first: int, count: int) -> float:
    """Take steps as `cxr-train sft` does."""
    base = language.base()
    fit = SftLoop(language.recipe, base, language.mixture(base), World())
    return timed(fit.step, first, count)


class Stopwatch(transformers.TrainerCallback):
    """Notes when each step of a trainer has ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.ends.append(now_s())


@dataclass(frozen=True)
class Trl:
    """TRL's trainer with its own defaults, but for ``changes``.

    Those leave rows on lines of their own, padded to the longest, compute in bf16 over float32
    weights and recompute activations. Neither order nor size of the batches is its default: they
    are the recipe's, so that the same rows meet in the same steps. Nothing is saved or reported.
    """

    changes: dict[str, Any]

    def __call__(self, language: Language, first: int, count: int) -> float:
        """Take steps under the trainer's own loop."""
        rows = language.of_steps(first, 1 + count)
        columns = {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            trainer = SFTTrainer(
                model=language.size.model(device.best()),
                args=self.arguments(folder, len(rows) // (1 + count), 1 + count),
                train_dataset=datasets.Dataset.from_dict(columns),
                processing_class=no_words(),
                callbacks=[watch],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
        return watch.ends[-1] - watch.ends[0]

    def arguments(self, folder: str, batch_size: int, num_steps: int) -> SFTConfig:
        """Return the trainer's settings."""
        return SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=num_steps,
            train_sampling_strategy="sequential",
            use_cpu=device.best().type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **self.changes,
        )


def no_words() -> transformers.PreTrainedTokenizerFast:
    """Return the tokenizer that a trainer insists on: it knows padding and end alone."""
    spec = Tokenizer(models.WordLevel({"[PAD]": 0, "[END]": 1}, unk_token="[PAD]"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=spec, pad_token="[PAD]", eos_token="[END]"
    )


def tokenizer(recipe: Recipe, first: int, count: int) -> float:
    """Take steps as `cxr-train tokenizer` does."""
    films, images = random_films(NUM_FILMS)
    features = fresh_classifier(recipe.classifier).eval().requires_grad_(False)
    fit = TokenizerLoop(recipe, recipe.tokenizer, films, images, features)
    return timed(fit.step, first, count)


class PlainTokenizer:
    """The same networks and losses, eager, float32, in torch's own layout, nothing arranged."""

    def __init__(self, recipe: Recipe) -> None:
        self.settings, self.seed = recipe.tokenizer, recipe.seed
        self.images: NDArray[np.uint8] = random_films(NUM_FILMS)[1]
        where = device.best()
        self.features = fresh_classifier(recipe.classifier).eval().requires_grad_(False).to(where)
        self.model = fresh_tokenizer(self.settings).to(where).train()
        channels = self.settings.discriminator_channels
        self.critic = PatchDiscriminator(self.settings.in_channels, channels).to(where)
        rate = self.settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate, BETAS)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), rate, BETAS)

    def batch(self, step: int) -> Tensor:
        """Return the films of a step, the ones that the project's loop takes."""
        picks = order.batch_rows(NUM_FILMS, self.settings.batch_size, self.seed, step)
        return film_tensor(self.images[picks]).to(device.best())

    def step(self, step: int) -> None:
        """Step the generator, then the discriminator."""
        films = self.batch(step)
        drawn, codebook, _ = self.model(films)
        total = self.loss(drawn, films) + self.settings.codebook_weight * codebook
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        real, fake = self.critic(films), self.critic(drawn.detach())
        loss = losses.hinge_discriminator(real, fake)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()

    def loss(self, drawn: Tensor, films: Tensor) -> Tensor:
        """Return all of the generator's losses but the codebook's."""
        settings = self.settings
        found, wanted = self.features.maps(drawn), self.features.maps(films)
        clinical = losses.clinical_distance(found[-1].mean((2, 3)), wanted[-1].mean((2, 3)))
        perceptual = losses.feature_distance(found[:-1], wanted[:-1])
        steady = (drawn - films).abs().mean() + settings.perceptual_weight * perceptual
        steady = steady + settings.clinical_weight * clinical
        adversary = losses.adversarial(self.critic(drawn))
        weight = losses.adaptive_weight(steady, adversary, self.model.decoder.conv_out.weight)
        return steady + adversary * weight * settings.discriminator_weight


def plain_tokenizer(recipe: Recipe, first: int, count: int) -> float:
    """Take steps of the plain loop."""
    return timed(PlainTokenizer(recipe).step, first, count)
