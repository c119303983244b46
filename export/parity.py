"""Does the bundle answer as the float32 model does? Measured, with a gate.

Codes are compared film by film, logits along real prompts with real reports (teacher forcing),
reports by greedy decoding on both sides. An export that fails the gate is reported as failed and
should not be shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.backends.base import Backend, Feed
from engine.backends.select import open_backend
from engine.bundle import open_bundle
from engine.generation import alone, write_text
from engine.nets.classifier import film_tensor
from engine.nets.load import LanguageModel, load_language_model, load_tokenizer
from engine.nets.vqgan import Vqgan
from engine.prompts import REPORT_INSTRUCTIONS
from export.drawn import both_drawings

MAX_KL = 0.02
MIN_TOP1 = 0.92
MIN_CODES_EQUAL = 0.995
MAX_NEW_TOKENS = 96
MAX_DRAWINGS = 4
"""Drawings take the float32 model seconds each."""


@dataclass(frozen=True)
class Parity:
    """How closely a bundle follows its float32 reference.

    ``codes_equal``: share of equal codes. ``kl``: mean Kullback-Leibler divergence [nats] of
    next-token distributions. ``top1``: share of equal most-probable tokens. ``reports_equal``:
    share of greedy reports that are equal to the letter; ``report_tokens_equal``: share of tokens
    before the first difference. ``drawings_equal`` and ``drawing_codes_equal``: the same of
    drawings from equal seeds; ``drawing_error``: mean absolute difference in [-1, 1] of films
    decoded from equal codes.
    """

    num_films: int
    codes_equal: float
    kl: float
    top1: float
    reports_equal: float
    report_tokens_equal: float
    drawing_error: float
    drawings_equal: float
    drawing_codes_equal: float

    @property
    def passed(self) -> bool:
        """Tell whether the bundle may be shipped."""
        return self.kl <= MAX_KL and self.top1 >= MIN_TOP1 and self.codes_equal >= MIN_CODES_EQUAL

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the verdict."""
        return {**asdict(self), "passed": self.passed}


@torch.no_grad()
def reference_codes(model: Vqgan, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the float32 codes [N, 256] of films."""
    films = film_tensor(images).expand(-1, model.config.in_channels, -1, -1)
    codes: NDArray[np.int64] = model.encode(films).numpy()
    return codes


@torch.no_grad()
def reference_logits(model: Any, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the float32 logits [T, V] along a sequence."""
    logits: NDArray[np.float32] = model(torch.tensor([list(ids)])).logits[0].float().numpy()
    return logits


def bundle_logits(
    backend: Backend, ids: Sequence[int], start: int, rows: range
) -> NDArray[np.float32]:
    """Return the bundle's logits from position ``start - 1`` on, one step a token."""
    slot = backend.open_slot()
    parts = [ids[:start], *([token] for token in ids[start:-1])]
    return np.concatenate([backend.forward([Feed(slot, part, rows)])[0] for part in parts])


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log-probabilities over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    normal: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return normal


def divergence(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the KL divergence [nats] of each row of logits."""
    p, q = log_softmax(wanted), log_softmax(found)
    kl: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(-1)
    return kl


@torch.no_grad()
def reference_report(model: LanguageModel, prompt: Sequence[int]) -> list[int]:
    """Return the greedy report of the float32 model, image ids forbidden."""
    vocabulary = model.prompts.vocabulary
    done = model.model.generate(
        torch.tensor([list(prompt)]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=vocabulary.end_id,
        pad_token_id=vocabulary.end_id,
        suppress_tokens=list(vocabulary.image_range),
    )
    ids = done[0, len(prompt) :].tolist()
    return ids[:-1] if ids and ids[-1] == vocabulary.end_id else ids


def bundle_report(backend: Backend, model: LanguageModel, prompt: Sequence[int]) -> list[int]:
    """Return the bundle's greedy report."""
    slot, vocabulary = backend.open_slot(), model.prompts.vocabulary
    return alone(backend, write_text(slot, prompt, vocabulary, max_new_tokens=MAX_NEW_TOKENS))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two sequences share from the start."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def measure(
    run_dir: Path,
    bundle_dir: Path,
    images: NDArray[np.uint8],
    reports: Sequence[str],
    stage: str | None = None,
) -> Parity:
    """Compare a bundle with its run on films uint8 [N, 256, 256] and their true reports.

    ``stage``: the one whose language model the bundle holds; None: the last of the run.
    """
    bundle = open_bundle(bundle_dir)
    backend = open_backend(bundle)
    tokenizer, model = load_tokenizer(run_dir), load_language_model(run_dir, stage)
    wanted_codes = reference_codes(tokenizer, images)
    films = film_tensor(images).numpy()
    found_codes = backend.encode(films)
    kls, tops, prefixes, lengths, equal, drawn = [], [], 0, 0, 0, []
    for codes, text in zip(wanted_codes, reports, strict=True):
        prompt = model.prompts.about_image(REPORT_INSTRUCTIONS[0], codes.tolist())
        ids = [*prompt, *model.prompts.text_ids(text), model.prompts.vocabulary.end_id]
        wanted = reference_logits(model.model, ids)[len(prompt) - 1 : -1]
        found = bundle_logits(backend, ids, len(prompt), range(wanted.shape[-1]))
        kls.append(divergence(wanted, found))
        tops.append(wanted.argmax(-1) == found.argmax(-1))
        a, b = reference_report(model, prompt), bundle_report(backend, model, prompt)
        prefixes, lengths, equal = (
            prefixes + common_prefix(a, b),
            lengths + len(a),
            equal + (a == b),
        )
        drawn.append(drawing_error(tokenizer, backend, codes))
    drawings = [
        both_drawings(bundle, backend, model, text, seed)
        for seed, text in enumerate(reports[:MAX_DRAWINGS])
    ]
    return Parity(
        num_films=len(images),
        codes_equal=float((wanted_codes == found_codes).mean()),
        kl=float(np.concatenate(kls).mean()),
        top1=float(np.concatenate(tops).mean()),
        reports_equal=equal / len(images),
        report_tokens_equal=prefixes / max(1, lengths),
        drawing_error=float(np.mean(drawn)),
        drawings_equal=float(np.mean([a == b for a, b in drawings])),
        drawing_codes_equal=float(np.mean([common_prefix(a, b) / len(a) for a, b in drawings])),
    )


@torch.no_grad()
def drawing_error(model: Vqgan, backend: Backend, codes: NDArray[np.int64]) -> float:
    """Return the mean absolute difference of the two decoded films in [-1, 1]."""
    wanted = model.decode(torch.from_numpy(codes)[None]).mean(1)[0].numpy()
    return float(np.abs(wanted - backend.decode(codes[None])[0, 0]).mean())
