"""What training is measured on: shapes, rows and films of nobody, and the work that they stand for.

Weights and ids are drawn at random, which costs a step as much as learned ones: nothing is
downloaded. Rows are as long as those of a report task are: a prompt with a film, then its report.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM

from engine.prompts import PromptBuilder
from engine.vocabulary import CODES_PER_IMAGE, NUM_CODES, Vocabulary
from training import config, device
from training.base import BaseModel
from training.catalog import Film
from training.config import Recipe
from training.instructions import IGNORED, Row, RowBuilder, make_row
from training.mixture import Mixture

SEED = 0
HEAD, TAIL, REPORT = range(30, 46), range(4, 16), range(30, 91)
"""Tokens of a prompt before and after its film, and of a report."""


@dataclass(frozen=True)
class Size:
    """A language model's shape and the recipe that it is trained by."""

    recipe: str
    overrides: tuple[str, ...]
    num_text: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int

    def load_recipe(self) -> Recipe:
        """Return the recipe, its discriminator playing from the first step."""
        return config.load(self.recipe, [*self.overrides, "tokenizer.discriminator_start=0"])

    def model(self, where: torch.device) -> LlamaForCausalLM:
        """Return a fresh model with random float32 weights; on ``meta`` it is a shape alone."""
        shape = LlamaConfig(
            vocab_size=self.num_text + NUM_CODES,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            tie_word_embeddings=True,
        )
        torch.manual_seed(SEED)
        with where:
            return LlamaForCausalLM(shape)


SIZES = {
    # the language model of the demo bundle: eight layers of SmolLM2-135M, 6,144 words
    "demo": Size("demo", ("classifier.weights=null",), 6144, 576, 1536, 8, 9, 3),
    # Llama-3.2-1B; half the recipe's batch, for the sake of memory
    "1b": Size("modern", ("sft.batch_size=16",), 128256, 2048, 8192, 16, 32, 8),
}


@dataclass(frozen=True)
class Given(Mixture):
    """A stream of rows that were made beforehand."""

    rows: Sequence[Row]

    def row(self, number: int) -> Row:
        """Return row ``number``."""
        return self.rows[number]


def random_row(vocabulary: Vocabulary, rng: np.random.Generator) -> Row:
    """Return a film's prompt and its report, all ids drawn at random."""

    def words(lengths: range) -> list[int]:
        count = int(rng.integers(lengths.start, lengths.stop))
        drawn: list[int] = rng.integers(3, vocabulary.num_text, count).tolist()
        return drawn

    film = vocabulary.image(rng.integers(0, NUM_CODES, CODES_PER_IMAGE).tolist())
    return make_row([*words(HEAD), *film, *words(TAIL)], words(REPORT))


@dataclass(frozen=True)
class Language:
    """Instruction tuning as every contender does it: one shape, one recipe, the same rows."""

    size: Size
    recipe: Recipe
    rows: Sequence[Row]

    @classmethod
    def make(cls, size: Size, num_steps: int) -> Language:
        """Draw the rows of so many steps."""
        recipe, vocabulary = size.load_recipe(), Vocabulary(size.num_text, 0, 1, 2)
        count = num_steps * recipe.sft.batch_size * recipe.sft.rows_per_line
        rng = np.random.default_rng(SEED)
        return cls(size, recipe, [random_row(vocabulary, rng) for _ in range(count)])

    def base(self) -> BaseModel:
        """Return a fresh model with the extended vocabulary; no word is ever spelled out."""
        vocabulary = Vocabulary(self.size.num_text, 0, 1, 2)
        return BaseModel(self.size.model(device.best()), Tokenizer(models.BPE()), vocabulary)

    def mixture(self, base: BaseModel) -> Mixture:
        """Return the rows as the project's loop takes them."""
        prompts = PromptBuilder(base.tokenizer, base.vocabulary, self.recipe.base.prompt_version)
        builder = RowBuilder(prompts, [], np.empty((0, 256), np.int16), self.recipe.sft)
        return Given(builder, {}, self.recipe.seed, self.rows)

    def of_steps(self, first: int, count: int) -> Sequence[Row]:
        """Return the rows of some steps."""
        per_step = self.recipe.sft.batch_size * self.recipe.sft.rows_per_line
        return self.rows[first * per_step : (first + count) * per_step]


def useful_flop(model: LlamaForCausalLM, rows: Sequence[Row]) -> float:
    """Return the floating-point operations that learning from rows takes, forward and backward.

    Six for each weight of a layer and each token; six for each weight of the head and each token
    that carries loss, for no other one needs logits; six for each layer, channel and pair of tokens
    in causal attention (two products, half of each). Padding and what is computed twice are no use.
    """
    layers, head = model.model.layers, model.get_output_embeddings().weight
    weights = sum(p.numel() for p in layers.parameters() if p.ndim > 1)
    num_tokens = sum(map(len, rows))
    num_learned = sum(label != IGNORED for row in rows for label in row.labels[1:])
    num_pairs = sum(len(row) ** 2 for row in rows)
    channels = len(layers) * model.config.hidden_size
    return 6.0 * (weights * num_tokens + head.numel() * num_learned + channels * num_pairs)


def matmul_flop_per_s(dtype: torch.dtype, at_least_s: float = 0.5) -> float:
    """Return the rate at which this machine multiplies large square matrices."""
    where = device.best()
    side = 8192 if where.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=where).to(dtype) for _ in range(2))
    (a @ b).sum().item()
    began, count = time.perf_counter(), 0
    while (took_s := time.perf_counter() - began) < at_least_s:
        c = a @ b
        count += 1
        c[0, 0].item()
    return 2.0 * side**3 * count / took_s


def random_films(count: int) -> tuple[list[Film], NDArray[np.uint8]]:
    """Return films of the training split, and their pixels."""
    name = "made for this benchmark"
    film = Film(name, "", name, "none", "", "", "train", "frontal", 256, 256, "", "")
    pixels = np.random.default_rng(SEED).integers(0, 256, (count, 256, 256), np.uint8)
    return [film] * count, pixels
