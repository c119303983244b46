"""The networks of a training run, frozen, in float32: for export and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from engine.errors import CheckpointError
from engine.nets.checkpoints import complete, latest, newest
from engine.nets.classifier import FilmClassifier
from engine.nets.vqgan import Vqgan, VqganConfig
from engine.prompts import PromptBuilder
from engine.vocabulary import Vocabulary

CLASSIFIER, CALIBRATION, TOKENIZER = "classifier", "calibration", "tokenizer"
TOKENIZER2 = "tokenizer2"
TUNINGS = SFT, SFT2, SFT3, SFT4 = "sft", "sft2", "sft3", "sft4"
AVERAGE = "average"
LANGUAGE_MODELS = (*TUNINGS, AVERAGE)
"""Stages that leave a language model, each instead of those before it."""
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class LanguageModel:
    """A tuned model with what is needed to prompt it and its checkpoint's values."""

    model: Any
    prompts: PromptBuilder
    values: dict[str, Any]


def load_classifier(run_dir: Path) -> FilmClassifier:
    """Return the film classifier of a run, calibrated if the run has done so."""
    found = newest(run_dir, CLASSIFIER)
    classifier = FilmClassifier(found.values["recipe"]["classifier"]["backbone"])
    classifier.load_state_dict(found.part("model"))
    fitted = latest(run_dir / CALIBRATION)
    if fitted is not None:
        classifier.load_state_dict(fitted.part("model"), strict=False)
    return classifier.eval().requires_grad_(False)


def hint_thresholds(run_dir: Path) -> dict[str, float]:
    """Return the thresholds above which a finding is named in a prompt; none if uncalibrated."""
    fitted = latest(run_dir / CALIBRATION)
    return dict(fitted.values["hints"]) if fitted is not None else {}


def last_of(run_dir: Path, *stages: str) -> str:
    """Return the last of some stages that has a checkpoint, the first if none has."""
    return next((stage for stage in reversed(stages) if complete(run_dir / stage)), stages[0])


def load_tokenizer(run_dir: Path, stage: str | None = None) -> Vqgan:
    """Return the VQ-GAN of a run, by default of its last pass."""
    stage = stage or last_of(run_dir, TOKENIZER, TOKENIZER2)
    found = newest(run_dir, stage)
    model = Vqgan(tokenizer_config(found.values, stage))
    model.load_state_dict(found.part("model"))
    return model.eval().requires_grad_(False)


def tokenizer_config(values: dict[str, Any], stage: str) -> VqganConfig:
    """Return the network's sizes from the stamp of a stage's checkpoint."""
    section = values["recipe"][stage]
    names = VqganConfig.__dataclass_fields__.keys() & section.keys()
    return VqganConfig.from_json({name: section[name] for name in names})


def load_language_model(run_dir: Path, stage: str | None = None) -> LanguageModel:
    """Return the tuned language model of a run, by default of its last stage."""
    stage = stage or last_of(run_dir, *LANGUAGE_MODELS)
    found = newest(run_dir, stage)
    architecture = dict(found.values["architecture"])
    config = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
    model = AutoModelForCausalLM.from_config(config)
    load_untied(model, found.part("model"))
    tokenizer = Tokenizer.from_file(str(run_dir / stage / TOKENIZER_FILE))
    vocabulary = Vocabulary.from_json(found.values["vocabulary"])
    version = found.values["recipe"]["base"]["prompt_version"]
    prompts = PromptBuilder(tokenizer, vocabulary, version)
    return LanguageModel(model.eval().requires_grad_(False), prompts, found.values)


def untied(model: Any, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return a state (the model's own) without the head where that is the embedding table."""
    kept = dict(model.state_dict() if state is None else state)
    if model.config.tie_word_embeddings:
        kept.pop("lm_head.weight", None)
    return kept


def load_untied(model: Any, state: dict[str, Tensor]) -> None:
    """Load what `untied` returned, refusing missing or unknown tensors."""
    found = model.load_state_dict(state, strict=False)
    missing = [key for key in found.missing_keys if key != "lm_head.weight"]
    if missing or found.unexpected_keys:
        raise CheckpointError(f"checkpoint and model differ: {missing + found.unexpected_keys}")
    model.tie_weights()
