"""A pretrained causal LLM made ready: fewer layers, fewer words, 1024 image codes more.

Dropping layers and words is what lets the demo bundle fit in 80 MiB and run on two cores; training
heals what that breaks. Word rows keep their pretrained values, so the model starts with its
English. Image rows start from the VQ-GAN codebook where the recipe asks for it: codes that look
alike begin alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from engine.vocabulary import NUM_CODES, Vocabulary
from training.config import BaseSection
from training.errors import TrainingError

END_MARKS = ("### End", "<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True)
class BaseModel:
    """A language model with its tokenizer and the extended vocabulary."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    vocabulary: Vocabulary


def load_pretrained(settings: BaseSection, base_dir: Path | None) -> tuple[Any, Tokenizer]:
    """Load the recipe's base model in float32 and its fast tokenizer."""
    source = str(base_dir or settings.model)
    options = {"gguf_file": settings.gguf_file} if settings.gguf_file else {}
    try:
        slow = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    except (OSError, ValueError) as fault:
        raise TrainingError(
            f"cannot load the base model from {source}",
            hint="give its directory with --base; see docs/how-to/training.md",
        ) from fault
    return plain(model), Tokenizer.from_str(slow.backend_tokenizer.to_str())


def plain(model: Any) -> Any:
    """Return the model without the traces of a quantised file, which would forbid saving."""
    config = type(model.config)(
        **{
            key: value
            for key, value in model.config.to_dict().items()
            if key not in ("quantization_config", "_name_or_path", "dtype")
        }
    )
    clean = type(model)(config)
    clean.load_state_dict(model.state_dict())
    return clean


def keep_layers(model: Any, layers: Iterable[int]) -> Any:
    """Return the model with only the given decoder layers, in order."""
    kept = list(layers)
    config = type(model.config)(**{**model.config.to_dict(), "num_hidden_layers": len(kept)})
    state = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if "layers" in parts:
            position = parts.index("layers") + 1
            if int(parts[position]) not in kept:
                continue
            parts[position] = str(kept.index(int(parts[position])))
        state[".".join(parts)] = tensor
    smaller = type(model)(config)
    smaller.load_state_dict(state)
    return smaller


def merge_pair(merge: Any) -> tuple[str, str]:
    """Return the two halves of a merge, whichever way the file writes it."""
    if isinstance(merge, str):
        left, right = merge.split(" ")
        return left, right
    return merge[0], merge[1]


def closed_under_merges(wanted: set[str], merges: list[tuple[str, str]]) -> set[str]:
    """Add to a set of tokens every token that their merges are made of."""
    made_of = {left + right: (left, right) for left, right in merges}
    closed, pending = set(), list(wanted)
    while pending:
        token = pending.pop()
        if token in closed:
            continue
        closed.add(token)
        pending.extend(made_of.get(token, ()))
    return closed


def smaller_tokenizer(
    tokenizer: Tokenizer, texts: Iterable[str], size: int
) -> tuple[Tokenizer, list[int]]:
    """Return a byte-level BPE with about ``size`` tokens and, for each, its id in the old one.

    Kept are all single bytes, the special tokens, the tokens that ``texts`` use most, and then the
    earliest merges. Every text stays representable, since the bytes stay.
    """
    spec = json.loads(tokenizer.to_str())
    old_ids: dict[str, int] = spec["model"]["vocab"]
    merges = [merge_pair(merge) for merge in spec["model"]["merges"]]
    results = {left + right for left, right in merges}
    base = {token for token in old_ids if token not in results}
    kept = base | closed_under_merges(common_tokens(tokenizer, texts, size * 3 // 4), merges)
    for left, right in merges:
        if len(kept) >= size:
            break
        if left in kept and right in kept:
            kept.add(left + right)
    ordered = sorted((token for token in old_ids if token in kept), key=old_ids.__getitem__)
    spec["model"]["vocab"] = {token: index for index, token in enumerate(ordered)}
    spec["model"]["merges"] = [list(pair) for pair in merges if {*pair, pair[0] + pair[1]} <= kept]
    for added in spec["added_tokens"]:
        added["id"] = spec["model"]["vocab"].get(added["content"], added["id"])
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in kept]
    return Tokenizer.from_str(json.dumps(spec)), [old_ids[token] for token in ordered]


def common_tokens(tokenizer: Tokenizer, texts: Iterable[str], count: int) -> set[str]:
    """Return the ``count`` tokens that occur most often in ``texts``."""
    uses: dict[str, int] = {}
    for encoding in tokenizer.encode_batch(list(texts)):
        for token in encoding.tokens:
            uses[token] = uses.get(token, 0) + 1
    return set(sorted(uses, key=lambda token: (-uses[token], token))[:count])


def keep_rows(model: Any, rows: list[int]) -> None:
    """Keep the given rows of the embedding table (and of the head), in place."""
    picked = torch.tensor(rows)
    table = model.get_input_embeddings().weight.detach()[picked].clone()
    head = model.get_output_embeddings().weight.detach()[picked].clone()
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(table)
        model.get_output_embeddings().weight.copy_(head)


def append_image_rows(model: Any, num_text: int, codebook: Tensor | None) -> None:
    """Append 1024 rows: from the codebook [1024, D] if given, else the library's default."""
    model.resize_token_embeddings(num_text + NUM_CODES, mean_resizing=codebook is not None)
    if codebook is None:
        return
    table = model.get_input_embeddings().weight
    words = table.detach()[:num_text]
    with torch.no_grad():
        table[num_text : num_text + len(codebook)] = projected(codebook, words)


def projected(codebook: Tensor, words: Tensor) -> Tensor:
    """Map whitened code vectors [K, D] isometrically into the space of word rows [V, W]."""
    centred = codebook.float() - codebook.float().mean(0)
    whitened = centred / centred.std(0).clamp(min=1e-6)
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(words.shape[1], whitened.shape[1], generator=generator))
    directions = whitened @ basis.t()
    return words.mean(0) + directions * (words.std() / directions.std())


def find_vocabulary(tokenizer: Tokenizer, num_text: int) -> Vocabulary:
    """Return the vocabulary of a tokenizer: its end mark and the two image brackets."""
    end = next((tokenizer.token_to_id(m) for m in END_MARKS if tokenizer.token_to_id(m)), None)
    opening, closing = tokenizer.token_to_id("<"), tokenizer.token_to_id(">")
    if end is None or opening is None or closing is None:
        raise TrainingError("the tokenizer has no end mark or no angle brackets")
    return Vocabulary(num_text, end, opening, closing)


def prepare(
    settings: BaseSection, base_dir: Path | None, texts: list[str], codebook: Tensor
) -> BaseModel:
    """Load, shrink and extend the base model of a recipe."""
    model, tokenizer = load_pretrained(settings, base_dir)
    if settings.keep_layers is not None:
        model = keep_layers(model, settings.keep_layers)
    num_text = tokenizer.get_vocab_size(with_added_tokens=True)
    if settings.max_vocabulary is not None:
        tokenizer, rows = smaller_tokenizer(tokenizer, texts, settings.max_vocabulary)
        keep_rows(model, rows)
        num_text = len(rows)
    start = codebook if settings.init_image_rows == "codebook" else None
    append_image_rows(model, num_text, start)
    return BaseModel(model, tokenizer, find_vocabulary(tokenizer, num_text))
