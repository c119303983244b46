"""Generation loops: text until its end mark, images of exactly 256 codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.backends.base import Logits, Slot
from engine.sampling import GREEDY, Sampling, codes_only, finite, pick, text_only
from engine.vocabulary import CODES_PER_IMAGE, Vocabulary

Advance = Callable[[int], None]


def ignore(done: int) -> None:
    """Report progress to nobody."""


def generate_text(
    slot: Slot,
    prompt: Sequence[int],
    vocabulary: Vocabulary,
    *,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    seed: int | None = None,
    advance: Advance = ignore,
) -> list[int]:
    """Return the answer's token ids, without the end mark; none is an image id."""
    rng = None if seed is None else np.random.default_rng(seed)
    answer: list[int] = []
    logits = slot.prefill(prompt)
    while len(answer) < max_new_tokens:
        token = pick(text_only(logits, vocabulary), sampling, rng)
        if token == vocabulary.end_id:
            break
        answer.append(token)
        advance(len(answer))
        if len(answer) < max_new_tokens:
            logits = slot.step(token)
    return answer


def generate_codes(
    slot: Slot,
    prompt: Sequence[int],
    vocabulary: Vocabulary,
    *,
    sampling: Sampling,
    seed: int,
    unprompted: tuple[Slot, Sequence[int]] | None = None,
    guidance: float = 0.0,
    advance: Advance = ignore,
) -> list[int]:
    """Return exactly 256 image codes, drawn after a prompt that ends in the open mark.

    With ``unprompted`` (a second slot and the same prompt without its report) every step is guided
    away from what the model would draw for no report at all (classifier-free guidance, arXiv
    2207.12598, eq. 6).
    """
    rng = np.random.default_rng(seed)
    slots = [(slot, prompt)] + ([unprompted] if unprompted and guidance > 0 else [])
    logits = [each.prefill(ids) for each, ids in slots]
    codes: list[int] = []
    while True:
        scores = guided([codes_only(each, vocabulary) for each in logits], guidance)
        codes.append(pick(scores, sampling, rng))
        advance(len(codes))
        if len(codes) == CODES_PER_IMAGE:
            return codes
        token = vocabulary.num_text + codes[-1]
        logits = [each.step(token) for each, _ in slots]


def guided(logits: Sequence[Logits], guidance: float) -> Logits:
    """Combine prompted and unprompted logits; with one of them there is nothing to combine.

    Raises
    ------
    GenerationFault
        The combination overflowed.
    """
    if len(logits) == 1:
        return logits[0]
    prompted, unprompted = logits
    with np.errstate(over="ignore", invalid="ignore"):
        return finite(prompted + np.float32(guidance) * (prompted - unprompted))
