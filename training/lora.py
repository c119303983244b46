"""Low-rank adapters on a causal language model (arXiv 2106.09685), by peft.

The image rows are new, so embeddings and head are trained whole beside the adapters. Their names
and those of the adapted layers differ by architecture; a wrong name trains nothing and says
nothing, hence the table and the check.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from training.config import LoraSection
from training.errors import TrainingError


class Names(NamedTuple):
    """The modules of an architecture that adapters go to, and those that are trained whole."""

    adapted: tuple[str, ...]
    whole: tuple[str, ...]


ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LLAMA = Names(ATTENTION_AND_MLP, ("embed_tokens", "lm_head"))
NAMES: dict[str, Names] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gpt_neox": Names(
        ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"), ("embed_in", "lm_head")
    ),
}


def adapt(causal: Any, settings: LoraSection) -> Any:
    """Return the model with adapters; embeddings and head stay trainable.

    Raises
    ------
    TrainingError
        The architecture is not in the table.
    """
    kind = causal.config.model_type
    if kind not in NAMES:
        raise TrainingError(
            f"no adapter names for architecture {kind}", hint=f"known: {', '.join(NAMES)}"
        )
    tied = causal.config.tie_word_embeddings
    whole = NAMES[kind].whole[:1] if tied else NAMES[kind].whole
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(NAMES[kind].adapted),
        modules_to_save=list(whole),
        ensure_weight_tying=tied,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(causal, config)


def merged(adapted: Any) -> Any:
    """Return a copy with the adapters folded into the weights they sit on."""
    return copy.deepcopy(adapted).merge_and_unload()


def trained(adapted: Any) -> dict[str, Tensor]:
    """Return the trainable tensors of an adapted model by name."""
    return {name: p.detach() for name, p in adapted.named_parameters() if p.requires_grad}


def restore(adapted: Any, state: dict[str, Tensor]) -> None:
    """Take up what `trained` returned.

    Raises
    ------
    TrainingError
        The checkpoint's adapters are not this model's.
    """
    own = trained(adapted)
    if own.keys() != state.keys():
        raise TrainingError("the checkpoint holds other adapters", hint="compare sft.lora")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
