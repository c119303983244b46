"""Whether a bundle draws what the float32 model draws from the same seed.

The dice are the same on both sides, so drawings part only where the stored weights move a
probability across a die. From there on the two draw different films, both as likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from engine.backends.base import Backend, Feed, FixedSlot, Logits
from engine.bundle import Bundle
from engine.generation import Steps, alone, draw_codes
from engine.nets.load import LanguageModel
from engine.prompts import DRAW_INSTRUCTIONS
from engine.sampling import Sampling


@dataclass(eq=False, kw_only=True)
class _FloatSlot(FixedSlot):
    """A sequence of the float32 model."""

    cache: DynamicCache = field(default_factory=DynamicCache)

    def rewind(self, length: int) -> None:
        """Forget tokens."""
        super().rewind(length)
        self.cache.crop(self.length)


class FloatSteps:
    """Steps of the float32 model of a run, one sequence after the other."""

    def __init__(self, model: Any, max_length: int) -> None:
        self._model = model
        self._max_length = max_length

    def open_slot(self) -> _FloatSlot:
        """Return an empty sequence."""
        return _FloatSlot(max_length=self._max_length)

    @torch.no_grad()
    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens to sequences; return their logits."""
        return [self._one(feed) for feed in feeds]

    def _one(self, feed: Feed) -> Logits:
        assert isinstance(feed.slot, _FloatSlot)
        ids = torch.tensor([list(feed.token_ids)])
        out = self._model(ids, past_key_values=feed.slot.cache, use_cache=True)
        feed.slot.length += len(feed.token_ids)
        after = len(feed.token_ids) - feed.num_wanted
        wanted: Logits = out.logits[0, after:, feed.rows.start : feed.rows.stop].float().numpy()
        return wanted


def drawn_codes(
    steps: Steps, slots: Sequence[Any], bundle: Bundle, model: LanguageModel, text: str, seed: int
) -> list[int]:
    """Return the codes that a report is drawn as, on one side."""
    settings = bundle.drawing
    texts = (text, "") if settings.guidance > 0 else (text,)
    prompts = [model.prompts.drawing(DRAW_INSTRUCTIONS[0], each) for each in texts]
    turns = draw_codes(
        list(zip(slots, prompts, strict=False)),
        bundle.vocabulary,
        sampling=Sampling(settings.temperature, settings.top_p),
        seed=seed,
        guidance=settings.guidance,
    )
    return alone(steps, turns)


def both_drawings(
    bundle: Bundle, backend: Backend, model: LanguageModel, text: str, seed: int
) -> tuple[list[int], list[int]]:
    """Return the codes of a report as the float32 model draws it, and as the bundle does."""
    exact = FloatSteps(model.model, backend.max_length)
    wanted = drawn_codes(exact, [exact.open_slot(), exact.open_slot()], bundle, model, text, seed)
    slots = [backend.open_slot(), backend.open_slot()]
    return wanted, drawn_codes(backend, slots, bundle, model, text, seed)
