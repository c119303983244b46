"""Recipes: everything that makes one run, in one YAML file, checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.nets.vqgan import VqganConfig
from engine.pixels import Transform
from training.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"


class Section(BaseModel):
    """A frozen part of a recipe; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformSection(Section):
    """How a film becomes 256 x 256: stored in the bundle, repeated by the node."""

    size: int = 256
    resize: Literal["squash", "pad", "centre_crop"] = "squash"
    clip_percentile: float = 0.5
    equalise: bool = False

    def build(self) -> Transform:
        """Return the engine's transform with these settings."""
        return Transform(**self.model_dump())


class ClassifierSection(Section):
    """The film classifier: guard, perceptual features and yardstick."""

    width: int = 32
    steps: int = 1200
    batch_size: int = 32
    learning_rate: float = 2e-3
    checkpoint_every: int = 200


class TokenizerSection(Section):
    """The VQ-GAN: sizes, loss weights and schedule."""

    in_channels: int = 1
    patch: int = 1
    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    z_channels: int = 256
    num_groups: int = 32
    code_dim: int = 256
    quantizer: Literal["vq", "ema"] = "vq"
    beta: float = 0.25
    legacy_beta: bool = False
    discriminator_channels: int = 64
    discriminator_start: int = 10_000
    discriminator_weight: float = 0.8
    perceptual_weight: float = 1.0
    codebook_weight: float = 1.0
    steps: int = 590_000
    batch_size: int = 2
    learning_rate: float = 4.5e-6
    checkpoint_every: int = 1000

    def net(self) -> VqganConfig:
        """Return the network's sizes."""
        names = VqganConfig.__dataclass_fields__.keys() & type(self).model_fields.keys()
        return VqganConfig(**{name: getattr(self, name) for name in names})


class SftSection(Section):
    """Instruction tuning of the language model."""

    base: str = "databricks/dolly-v2-3b"
    gguf_file: str | None = None
    keep_layers: tuple[int, ...] | None = None
    max_vocabulary: int | None = None
    init_image_rows: Literal["random", "codebook"] = "random"
    mixture: dict[str, float] = Field(
        default_factory=lambda: {"report": 0.4, "draw": 0.4, "text": 0.2}
    )
    image_token_weight: float = 1.0
    drop_prompt: float = 0.0
    prompt_version: str = "alpaca-1"
    max_length: int = 2048
    rows_per_line: int = 1
    steps: int = 76_000
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 5e-6
    warmup_steps: int = 50
    schedule: Literal["constant_with_warmup", "cosine"] = "constant_with_warmup"
    weight_decay: float = 0.0
    checkpoint_every: int = 500


class Recipe(Section):
    """One run from films to checkpoint."""

    name: str
    seed: int = 1234
    precision: Literal["no", "bf16"] = "bf16"
    transform: TransformSection = TransformSection()
    classifier: ClassifierSection = ClassifierSection()
    tokenizer: TokenizerSection = TokenizerSection()
    sft: SftSection = SftSection()


def find(name: str) -> Path:
    """Return the file of a shipped recipe, or the given path."""
    shipped = RECIPES / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe named {name}", hint=f"shipped recipes: {names}")
    return path


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set ``section.key=value`` in a recipe's values."""
    path, found, text = override.partition("=")
    if not found:
        raise RecipeError(f"override without a value: {override}", hint="write section.key=value")
    *parents, key = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[key] = yaml.safe_load(text)


def load(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by name or path and apply ``section.key=value`` overrides.

    Raises
    ------
    RecipeError
        The recipe does not exist or does not validate; every fault is listed.
    """
    values = yaml.safe_load(find(name).read_text())
    for override in overrides or []:
        apply_override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as fault:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors()]
        raise RecipeError("recipe is not valid: " + "; ".join(lines)) from fault
