"""What every backend can do, so that nothing above knows which one runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.results import Codes, Image

Logits = NDArray[np.float32]


class Slot(Protocol):
    """One sequence with its key/value cache."""

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        ...

    def prefill(self, token_ids: Sequence[int]) -> Logits:
        """Append a prompt and return the logits [V] after its last token."""
        ...

    def step(self, token_id: int) -> Logits:
        """Append one token and return the logits [V] after it."""
        ...

    def rewind(self, length: int) -> None:
        """Forget every token from position ``length`` on."""
        ...


class Backend(Protocol):
    """The networks of one bundle on one device."""

    @property
    def name(self) -> str:
        """The backend's name, as provenance records it."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens that a slot can hold."""
        ...

    def open_slot(self) -> Slot:
        """Return an empty sequence."""
        ...

    def encode(self, image: Image) -> Codes:
        """Film [1, 256, 256] -> codes [256]."""
        ...

    def decode(self, codes: Codes) -> Image:
        """Codes [256] -> film [1, 256, 256]."""
        ...

    def classify(self, image: Image) -> dict[str, NDArray[np.float32]]:
        """Film -> probabilities of ``view``, ``turn``, ``inverted``, ``findings``; ``novelty``.

        A bundle that can explain itself gives ``evidence`` [14, H, W] as well.
        """
        ...
