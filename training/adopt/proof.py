"""Do networks read back from a bundle answer as the bundle does? Measured on made films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.backends.base import Backend, Feed
from engine.backends.select import open_backend
from engine.bundle import Bundle
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.vqgan import Vqgan
from training.distractors import discs

NUM_FILMS = 4
NUM_PIXELS = 256
MIN_CODES_EQUAL = 0.995
MAX_GAP = 1e-3
MAX_KL = 0.02
"""Of next-token distributions [nats], as the export gate has it: a bundle computes in int8."""


@dataclass(frozen=True)
class Proof:
    """How closely networks follow their bundle on ``NUM_FILMS`` made films.

    ``codes_equal``: share of equal codes. ``drawing_gap``, ``chance_gap``: largest difference of a
    pixel in [-1, 1], and of a probability. ``kl``: mean divergence [nats] of the next token after a
    film's codes.
    """

    codes_equal: float
    drawing_gap: float
    chance_gap: float
    kl: float

    @property
    def passed(self) -> bool:
        """Tell whether they are the same networks."""
        gap = max(self.drawing_gap, self.chance_gap)
        return self.codes_equal >= MIN_CODES_EQUAL and gap <= MAX_GAP and self.kl <= MAX_KL


@torch.no_grad()
def prove(bundle: Bundle, classifier: FilmClassifier, tokenizer: Vqgan, model: Any) -> Proof:
    """Ask networks and bundle the same, film by film."""
    backend, rng = open_backend(bundle), np.random.default_rng(0)
    blank = np.zeros((NUM_PIXELS, NUM_PIXELS), np.uint8)
    films = film_tensor(np.stack([discs(rng, blank) for _ in range(NUM_FILMS)]))
    wanted = backend.encode(films.numpy())
    found = tokenizer.encode(films.expand(-1, tokenizer.config.in_channels, -1, -1)).numpy()
    drawn = tokenizer.decode(torch.from_numpy(wanted)).mean(1, keepdim=True).numpy()
    chances = classifier(films)["findings"].sigmoid().numpy()
    told = [backend.classify(film)["findings"] for film in films.numpy()]
    pictures = backend.decode(wanted)
    ids = [bundle.vocabulary.image(codes.tolist()) for codes in wanted]
    return Proof(
        codes_equal=float((wanted == found).mean()),
        drawing_gap=float(np.abs(drawn - pictures).max()),
        chance_gap=float(np.abs(chances - np.stack(told)).max()),
        kl=float(np.mean([divergence(backend, model, one) for one in ids])),
    )


def divergence(backend: Backend, model: Any, ids: list[int]) -> float:
    """Return the divergence [nats] of a bundle's next token from a network's."""
    wanted = log_softmax(model(torch.tensor([ids])).logits[0, -1].double().numpy())
    (logits,) = backend.forward([Feed(backend.open_slot(), ids, range(len(wanted)))])
    found = log_softmax(logits[-1].astype(np.float64))
    return float((np.exp(wanted) * (wanted - found)).sum())


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log-probabilities [V]."""
    shifted = logits - logits.max()
    normal: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return normal
