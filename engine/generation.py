"""Generation as coroutines: each yields what to feed to the model and receives logits.

None of them runs the model itself, so that one loop (`engine.scheduler`) can step many of them in
one call, and stop between any two steps. Text goes on until its end mark; an image is exactly 256
codes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from engine.backends.base import Feed, Logits, Slot
from engine.sampling import GREEDY, Sampling, finite, pick
from engine.vocabulary import CODES_PER_IMAGE, Vocabulary

Result = TypeVar("Result")
Turns = Generator[tuple[Feed, ...], list[Logits], Result]
"""What a coroutine of this module is; no slot stands twice in what it yields."""
Advance = Callable[[int], None]
Guess = Callable[[Sequence[int]], Sequence[int]]
"""Text so far -> tokens that may well come next; see `engine.phrases`."""

PREFILL_CHUNK = 128
"""Tokens of a prompt that one step reads: nobody else waits for the whole of it."""


def ignore(done: int) -> None:
    """Report progress to nobody."""


def no_guess(written: Sequence[int]) -> Sequence[int]:
    """Expect nothing: one token a step."""
    return ()


class Steps(Protocol):
    """Whatever answers feeds: a backend, or a model that stands in for one."""

    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens to sequences; return their logits."""
        ...


def alone(steps: Steps, turns: Turns[Result]) -> Result:
    """Run one coroutine to its end."""
    try:
        feeds = next(turns)
        while True:
            feeds = turns.send(steps.forward(feeds))
    except StopIteration as end:
        result: Result = end.value
        return result


def read_prompts(prompts: Sequence[tuple[Slot, Sequence[int]]], rows: range) -> Turns[list[Logits]]:
    """Bring slots up to their prompts; return the logits [len(rows)] after each.

    What a slot holds already is taken for the beginning of its prompt and not read again.
    """
    left = [(slot, list(ids)[slot.length :]) for slot, ids in prompts]
    while any(len(ids) > PREFILL_CHUNK for _, ids in left):
        long = [(slot, ids) for slot, ids in left if len(ids) > PREFILL_CHUNK]
        yield tuple(Feed(slot, ids[:PREFILL_CHUNK], rows, num_wanted=0) for slot, ids in long)
        for _, ids in long:
            del ids[:PREFILL_CHUNK]
    logits = yield tuple(Feed(slot, ids, rows) for slot, ids in left)
    return [each[-1] for each in logits]


@dataclass
class _Text:
    """An answer as it grows."""

    end_id: int
    max_new_tokens: int
    sampling: Sampling
    rng: np.random.Generator | None
    advance: Advance
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def room(self) -> int:
        """Tokens that may follow."""
        return self.max_new_tokens - len(self.ids)

    def take(self, logits: Logits, guesses: Sequence[int]) -> int:
        """Go on by the logits [1 + guesses, V]; return how many guesses were right."""
        for place, row in enumerate(logits):
            self._append(pick(finite(row), self.sampling, self.rng))
            if self.ended or place == len(guesses) or guesses[place] != self.ids[-1]:
                break
        return place

    def _append(self, token: int) -> None:
        if token == self.end_id:
            self.ended = True
            return
        self.ids.append(token)
        self.advance(len(self.ids))
        self.ended = self.room == 0


def write_text(
    slot: Slot,
    prompt: Sequence[int],
    vocabulary: Vocabulary,
    *,
    max_new_tokens: int,
    guess: Guess = no_guess,
    sampling: Sampling = GREEDY,
    seed: int | None = None,
    advance: Advance = ignore,
) -> Turns[list[int]]:
    """Return the answer's token ids, without the end mark; none is an image id.

    Guesses are fed together with the last token and checked by the logits after each of them: what
    would have been written anyway is kept. So the text is the same with guesses and without
    (speculative decoding, arXiv 2211.17192, algorithm 1, for a draft that costs nothing).
    """
    rng = None if seed is None else np.random.default_rng(seed)
    text = _Text(vocabulary.end_id, max_new_tokens, sampling, rng, advance)
    rows = vocabulary.text_range
    logits = (yield from read_prompts([(slot, prompt)], rows))[0][None]
    guesses: Sequence[int] = ()
    while True:
        known = slot.length - len(guesses)
        slot.rewind(known + text.take(logits, guesses))
        if text.ended:
            return text.ids
        guesses = guess(text.ids)[: min(text.room, slot.room) - 1]
        ids = [text.ids[-1], *guesses]
        (logits,) = yield (Feed(slot, ids, rows, num_wanted=len(ids)),)


def draw_codes(
    prompts: Sequence[tuple[Slot, Sequence[int]]],
    vocabulary: Vocabulary,
    *,
    sampling: Sampling,
    seed: int,
    guidance: float = 0.0,
    advance: Advance = ignore,
) -> Turns[list[int]]:
    """Return exactly 256 image codes, drawn after a prompt that ends in the open mark.

    With a second prompt, the same without its report, every step is guided away from what the model
    would draw for no report at all (classifier-free guidance, arXiv 2207.12598, eq. 6).
    """
    rng = np.random.default_rng(seed)
    rows = vocabulary.image_range
    logits = yield from read_prompts(prompts, rows)
    codes: list[int] = []
    while True:
        scores = guided([finite(each) for each in logits], guidance)
        codes.append(pick(scores, sampling, rng))
        advance(len(codes))
        if len(codes) == CODES_PER_IMAGE:
            return codes
        token = vocabulary.num_text + codes[-1]
        answers = yield tuple(Feed(slot, [token], rows) for slot, _ in prompts)
        logits = [each[-1] for each in answers]


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
