"""Whether a policy learns to be better or only to be long: greedy reports while it is tuned.

At every checkpoint the policy writes about the same validation films; the judge's score, the score
at controlled length and the words beside those of the start and of the radiologist go into the log
(arXiv 2410.07025, section 4.3).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from engine.prompts import PromptBuilder
from training import device
from training.align.reference import digest_of
from training.config import Precision
from training.preferences.judges import OWN

MAX_NEW_TOKENS = 160
FILMS_A_CALL = 16
QUALITY, CONTROLLED = "finding-error", "finding-error-lc"


@dataclass(frozen=True)
class Watched:
    """Films with a reference: prompts as token ids, and what a radiologist wrote."""

    prompts: Sequence[list[int]]
    references: Sequence[str]


@torch.no_grad()
def reports(
    causal: Any, prompts: Sequence[list[int]], builder: PromptBuilder, precision: Precision
) -> list[str]:
    """Return the greedy reports of prompts."""
    where, was_training = device.best(), causal.training
    causal.to(where).eval()
    texts: list[str] = []
    with device.autocast(where, precision):
        for start in range(0, len(prompts), FILMS_A_CALL):
            texts += together(causal, prompts[start : start + FILMS_A_CALL], builder, where)
    causal.train(was_training)
    return texts


def together(
    causal: Any, prompts: Sequence[list[int]], builder: PromptBuilder, where: torch.device
) -> list[str]:
    """Return the greedy reports of prompts that go through the model side by side."""
    end, width = builder.vocabulary.end_id, max(map(len, prompts))
    ids = torch.full((len(prompts), width), end)
    seen = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        seen[row, width - len(prompt) :] = 1
    found = causal.generate(
        ids.to(where),
        attention_mask=seen.to(where),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=list(builder.vocabulary.image_range),
    )
    answers = found[:, width:].tolist()
    return [builder.text(ids[: ids.index(end)] if end in ids else ids) for ids in answers]


def figures(
    texts: Sequence[str], references: Sequence[str], start: Sequence[str]
) -> dict[str, float]:
    """Return the judge's scores and the verbosity of texts."""
    words, theirs, before = (
        sum(len(text.split()) for text in each) for each in (texts, references, start)
    )
    return {
        "judge": float(np.nanmean(OWN[QUALITY](texts, references))),
        "judge_lc": float(np.nanmean(OWN[CONTROLLED](texts, references))),
        "length_ratio": ratio(words, theirs),
        "verbosity": ratio(words, before),
    }


def ratio(words: int, others: int) -> float:
    """Return how many times longer a text is than another, which may be empty."""
    return 1.0 if words == others else words / max(others, 1)


@dataclass(frozen=True)
class Watch:
    """Watches one policy; ``start`` is what it wrote before it was tuned."""

    films: Watched
    builder: PromptBuilder
    precision: Precision
    start: Sequence[str]

    @classmethod
    def of(
        cls, films: Watched, builder: PromptBuilder, precision: Precision, causal: Any, folder: Path
    ) -> Self:
        """Begin to watch a model that is about to be tuned.

        What it writes by now is kept in ``folder``, for other runs from the same start.
        """
        path = folder / f"start-{digest_of(causal, films.prompts, precision)}.json"
        if not path.is_file():
            texts = reports(causal, films.prompts, builder, precision)
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(texts), encoding="utf-8")
            partial.replace(path)
        return cls(films, builder, precision, json.loads(path.read_text(encoding="utf-8")))

    def look(self, causal: Any) -> dict[str, float]:
        """Return the figures of a policy as it is."""
        texts = reports(causal, self.films.prompts, self.builder, self.precision)
        return figures(texts, self.films.references, self.start)

    def at_start(self) -> dict[str, float]:
        """Return the figures of the start."""
        return figures(self.start, self.films.references, self.start)
