"""The networks of a training run, frozen, in float32: for export and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from engine.errors import CheckpointError
from engine.nets.checkpoints import latest, newest
from engine.nets.classifier import FilmClassifier
from engine.nets.vqgan import Vqgan, VqganConfig
from engine.prompts import PromptBuilder
from engine.vocabulary import Vocabulary

CLASSIFIER, FINDINGS_HEAD, TOKENIZER, SFT = "classifier", "findings", "tokenizer", "sft"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class LanguageModel:
    """A tuned model with what is needed to prompt it and its checkpoint's values."""

    model: Any
    prompts: PromptBuilder
    values: dict[str, Any]


def load_classifier(run_dir: Path) -> FilmClassifier:
    """Return the film classifier of a run, its findings head refitted if the run has done so."""
    found = newest(run_dir, CLASSIFIER)
    classifier = FilmClassifier(found.values["recipe"]["classifier"]["width"])
    classifier.load_state_dict(found.part("model"))
    head = latest(run_dir / FINDINGS_HEAD)
    if head is not None:
        classifier.findings.load_state_dict(head.part("model"))
    return classifier.eval().requires_grad_(False)


def load_tokenizer(run_dir: Path) -> Vqgan:
    """Return the VQ-GAN of a run."""
    found = newest(run_dir, TOKENIZER)
    model = Vqgan(tokenizer_config(found.values))
    model.load_state_dict(found.part("model"))
    return model.eval().requires_grad_(False)


def tokenizer_config(values: dict[str, Any]) -> VqganConfig:
    """Return the network's sizes from a checkpoint's stamp."""
    section = values["recipe"]["tokenizer"]
    names = VqganConfig.__dataclass_fields__.keys() & section.keys()
    return VqganConfig.from_json({name: section[name] for name in names})


def load_language_model(run_dir: Path) -> LanguageModel:
    """Return the tuned language model of a run."""
    found = newest(run_dir, SFT)
    architecture = dict(found.values["architecture"])
    config = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
    model = AutoModelForCausalLM.from_config(config)
    load_untied(model, found.part("model"))
    tokenizer = Tokenizer.from_file(str(run_dir / SFT / TOKENIZER_FILE))
    vocabulary = Vocabulary.from_json(found.values["vocabulary"])
    version = found.values["recipe"]["sft"]["prompt_version"]
    prompts = PromptBuilder(tokenizer, vocabulary, version)
    return LanguageModel(model.eval().requires_grad_(False), prompts, found.values)


def untied(model: Any) -> dict[str, Tensor]:
    """Return a model's state without the output head where that is the embedding table itself."""
    state = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def load_untied(model: Any, state: dict[str, Tensor]) -> None:
    """Load what `untied` returned, refusing missing or unknown tensors."""
    found = model.load_state_dict(state, strict=False)
    missing = [key for key in found.missing_keys if key != "lm_head.weight"]
    if missing or found.unexpected_keys:
        raise CheckpointError(f"checkpoint and model differ: {missing + found.unexpected_keys}")
    model.tie_weights()
