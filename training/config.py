"""Recipes: everything that makes one run, in one YAML file, checked before anything is loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.nets.vqgan import VqganConfig
from engine.pixels import Transform
from engine.prompts import STYLES
from training.errors import RecipeError, TrainingError

RECIPES = Path(__file__).parent / "recipes"
MIN_KTO_BATCH = 4
"""Its estimate of how far the policy has moved is a mean over the batch."""


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
    """The film classifier: guard, clinical features and yardstick.

    ``weights`` names a published file, by path or inside an installed package, with its hash.
    ``unmentioned`` says what silence in a report means for a finding.
    """

    backbone: Literal["densenet121", "efficientnet_lite0"] = "densenet121"
    weights: str | None = None
    weights_sha256: str = ""
    unmentioned: Literal["unknown", "absent"] = "unknown"
    uncertain: Literal["unknown", "present"] = "unknown"
    steps: int = 12_000
    batch_size: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    checkpoint_every: int = 200


SIZES = VqganConfig()


class TokenizerSection(Section):
    """The VQ-GAN: sizes, loss weights and schedule.

    ``clinical_weight`` weighs the squared distance of the classifier's pooled features (arXiv
    2305.11490, section 3.2); ``perceptual_weights`` names VGG-16 weights for LPIPS, without which
    the classifier's maps serve. Films are compared by either network at one of ``feature_sizes``
    pixels, drawn for every step: what shows at one size alone, as a pattern of single pixels does,
    is no way to please them. ``init`` names a taming-transformers checkpoint to start from. A
    second pass may keep every code as it is and train the decoder alone.
    """

    in_channels: int = SIZES.in_channels
    patch: int = SIZES.patch
    channels: int = SIZES.channels
    channel_mult: tuple[int, ...] = SIZES.channel_mult
    num_res_blocks: int = SIZES.num_res_blocks
    z_channels: int = SIZES.z_channels
    num_groups: int = SIZES.num_groups
    code_dim: int = SIZES.code_dim
    quantizer: Literal["vq", "ema", "fsq"] = "vq"
    beta: float = SIZES.beta
    legacy_beta: bool = SIZES.legacy_beta
    fsq_levels: tuple[int, ...] = SIZES.fsq_levels
    trained: Literal["all", "decoder"] = "all"
    init: str | None = None
    init_sha256: str = ""
    perceptual_weights: str | None = None
    perceptual_sha256: str = ""
    feature_sizes: tuple[int, ...] = (256,)
    discriminator_channels: int = 64
    discriminator_start: int = 10_000
    discriminator_weight: float = 0.8
    perceptual_weight: float = 1.0
    clinical_weight: float = 0.0
    codebook_weight: float = 1.0
    steps: int = 590_000
    batch_size: int = 2
    learning_rate: float = 4.5e-6
    checkpoint_every: int = 1000

    @model_validator(mode="after")
    def grid_fits(self) -> Self:
        """Refuse an FSQ grid of other dimension than the code, or of more points than codes."""
        if self.quantizer == "fsq":
            if len(self.fsq_levels) != self.code_dim:
                raise ValueError(f"{len(self.fsq_levels)} fsq_levels want code_dim to be the same")
            if math.prod(self.fsq_levels) > SIZES.num_codes:
                raise ValueError(f"fsq_levels make more than {SIZES.num_codes} codes")
        return self

    def net(self) -> VqganConfig:
        """Return the network's sizes."""
        names = VqganConfig.__dataclass_fields__.keys() & type(self).model_fields.keys()
        return VqganConfig(**{name: getattr(self, name) for name in names})


class BaseSection(Section):
    """The pretrained language model and what is kept of it."""

    model: str = "databricks/dolly-v2-3b"
    gguf_file: str | None = None
    keep_layers: tuple[int, ...] | None = None
    max_vocabulary: int | None = None
    init_image_rows: Literal["random", "codebook"] = "random"
    prompt_version: str = "alpaca-1"


PartName = Literal["lateral", "indication", "previous_report"]
Share = Annotated[float, Field(ge=0, le=1)]


class LoraSection(Section):
    """Low-rank adapters (arXiv 2106.09685); embeddings and head are trained whole beside them."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


class SftSection(Section):
    """One stage of instruction tuning: which rows, in which shares, and how they are learned.

    ``target`` is the part of a report that is written and drawn from; ``directions`` tells whether
    a film serves as input and as output or, as published, as one of the two for good;
    ``abnormal_share`` is how often a film with a finding is picked; ``hints`` how often a prompt
    names the likely findings; ``parts`` how often it holds a further part of the study that the
    study has (`training.study_parts`); ``typical`` which share of the reports of the same findings,
    those worded most usually, is learned to be written (`training.typical`). ``batch_size`` is
    global: all processes and ``accumulation`` parts of a step together.
    """

    mixture: dict[str, float] = Field(
        default_factory=lambda: {"report": 0.3, "draw": 0.3, "vqa": 0.2, "text": 0.2}
    )
    target: Literal["report", "findings", "impression"] = "report"
    views: Literal["frontal", "all"] = "frontal"
    earliest_only: bool = False
    directions: Literal["both", "one"] = "both"
    abnormal_share: float | None = Field(None, ge=0, le=1)
    label_films: bool = False
    hints: float = Field(0.0, ge=0, le=1)
    parts: dict[PartName, Share] = Field(default_factory=dict)
    typical: float = Field(1.0, gt=0, le=1)
    text_file: Path | None = None
    image_token_weight: float = 1.0
    drop_prompt: float = 0.0
    max_length: int = 2048
    rows_per_line: int = 1
    steps: int = 76_000
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 5e-6
    warmup_steps: int = 50
    schedule: Literal["constant_with_warmup", "cosine"] = "constant_with_warmup"
    weight_decay: float = 0.0
    lora: LoraSection | None = None
    parallel: Literal["ddp", "fsdp"] = "ddp"
    activation_checkpointing: bool = False
    checkpoint_every: int = 500

    @model_validator(mode="after")
    def previous_reports_exist(self) -> Self:
        """Refuse previous reports where only first studies are learned from."""
        if self.earliest_only and self.parts.get("previous_report"):
            raise ValueError("earliest_only leaves no study with a previous report")
        return self


class VqaSection(Section):
    """How a language model is asked for questions on reports.

    ``allow_remote`` lets ``--model`` name an endpoint (http or https); reports then leave this
    machine, which the licence of most report collections forbids.
    """

    num_pairs: int = Field(5, ge=1, le=20)
    max_new_tokens: int = 1024
    batch_size: int = 8
    studies_per_chunk: int = Field(64, ge=1)
    allow_remote: bool = False


Precision = Literal["no", "bf16"]
JudgeName = Literal[
    "finding-error", "finding-error-lc", "label-f1", "bertscore", "radgraph", "green"
]


class PreferencesSection(Section):
    """How candidate reports are sampled and judged (arXiv 2410.07025, section 3).

    Of a film's ``num_samples`` candidates the best and the worst become a pair where the judge
    tells them apart by more than ``min_spread``; ``max_length_ratio`` leaves out pairs whose chosen
    text has so many times the words of its rejected one.
    """

    num_samples: int = Field(4, ge=2, le=64)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    judge: JudgeName = "finding-error"
    min_spread: float = Field(1e-8, ge=0)
    max_length_ratio: float | None = Field(None, gt=1)
    films_per_part: int = Field(32, ge=1)


MethodName = Literal["dpo", "lc-dpo", "ipo", "kto", "orpo", "simpo"]


class AlignSection(Section):
    """One run of preference tuning: the loss and how it is descended.

    ``beta`` is each method's own: the strength of the tie to the reference for dpo, lc-dpo, ipo and
    kto, the weight of the odds for orpo, the scale of the margin for simpo. ``length_penalty`` is
    lc-dpo's alpha [nats a token]; ``target_margin`` simpo's gamma; ``desirable_weight`` and
    ``undesirable_weight`` are kto's lambdas. ``batch_size`` counts prompts, all processes together.
    ``watch`` is how many validation films are drafted at each checkpoint, to see length and judge.
    """

    method: MethodName = "dpo"
    beta: float = Field(0.1, gt=0)
    length_penalty: float = Field(0.05, ge=0)
    target_margin: float = Field(0.5, ge=0)
    desirable_weight: float = Field(1.0, gt=0)
    undesirable_weight: float = Field(1.0, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-6, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_length: int = 2048
    activation_checkpointing: bool = False
    checkpoint_every: int = Field(100, ge=1)
    watch: int = Field(32, ge=0)

    @model_validator(mode="after")
    def kto_has_others(self) -> Self:
        """Refuse a batch of one for kto, which compares each answer with another film's."""
        if self.method == "kto" and self.batch_size < MIN_KTO_BATCH:
            raise ValueError(f"kto needs a batch_size of {MIN_KTO_BATCH} or more")
        return self


class Recipe(Section):
    """One run from films to checkpoint; later passes may be missing."""

    name: str
    seed: int = 1234
    precision: Precision = "bf16"
    transform: TransformSection = TransformSection()
    classifier: ClassifierSection = ClassifierSection()
    tokenizer: TokenizerSection = TokenizerSection()
    tokenizer2: TokenizerSection | None = None
    base: BaseSection = BaseSection()
    sft: SftSection = SftSection()
    sft2: SftSection | None = None
    sft3: SftSection | None = None
    sft4: SftSection | None = None
    vqa: VqaSection = VqaSection()
    preferences: PreferencesSection = PreferencesSection()
    align: AlignSection = AlignSection()

    @model_validator(mode="after")
    def passes_agree(self) -> Self:
        """Refuse a second tokenizer pass whose network is not the first's."""
        if self.tokenizer2 is not None and self.tokenizer2.net() != self.tokenizer.net():
            raise ValueError("tokenizer2 must have the sizes of tokenizer (or be null)")
        return self

    @model_validator(mode="after")
    def prompts_hold_the_parts(self) -> Self:
        """Refuse parts of a study in prompts that have no place for them."""
        style = STYLES.get(self.base.prompt_version)
        stages = (self.sft, self.sft2, self.sft3, self.sft4)
        if any(stage and stage.parts for stage in stages) and not (style and style.has_parts):
            raise ValueError(f"base.prompt_version {self.base.prompt_version} knows no parts")
        return self


def find(name: str) -> Path:
    """Return the file of a shipped recipe, or the given path."""
    return shipped(RECIPES, "recipe", name, RecipeError)


def shipped(folder: Path, kind: str, name: str, refused: type[TrainingError]) -> Path:
    """Return the YAML file of that name in a folder of ours, or the given path."""
    ours = folder / f"{name}.yaml"
    path = ours if ours.is_file() else Path(name)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise refused(f"no {kind} named {name}", hint=f"shipped {kind}s: {names}")
    return path


def faults_of(fault: ValidationError, name: str) -> str:
    """Return every fault of a file, by key."""
    lines = (f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in fault.errors())
    return "; ".join(lines)


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set ``section.key=value`` in a recipe's values."""
    path, found, text = override.partition("=")
    if not found:
        raise RecipeError(f"override without a value: {override}", hint="write section.key=value")
    *parents, key = path.split(".")
    for parent in parents:
        values[parent] = values.get(parent) or {}
        values = values[parent]
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
    return validated(values, name)


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    """Return a recipe with some values of its sections changed, checked anew."""
    values = recipe.model_dump(mode="json")
    for name, section in sections.items():
        values[name] |= section
    return validated(values, recipe.name)


def validated(values: dict[str, Any], name: str) -> Recipe:
    """Return the recipe of some values.

    Raises
    ------
    RecipeError
        They do not validate; every fault is listed.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as fault:
        raise RecipeError(f"recipe is not valid: {faults_of(fault, name)}") from fault
