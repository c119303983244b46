"""What every backend can do, so that nothing above knows which one runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import GenerationFault
from engine.results import Image

Logits = NDArray[np.float32]
Images = NDArray[np.float32]
"""Films: float32 [N, 1, 256, 256] in [-1, 1]."""
CodeRows = NDArray[np.int64]
"""The codes of several images: int64 [N, 256]."""


class Slot(Protocol):
    """One sequence with its key/value cache; it belongs to the backend that opened it."""

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        ...

    @property
    def room(self) -> int:
        """Tokens that it can still take."""
        ...

    def rewind(self, length: int) -> None:
        """Forget every token from position ``length`` on."""
        ...


@dataclass(eq=False, kw_only=True)
class FixedSlot:
    """A sequence whose cache has a fixed size: how many of its entries are filled."""

    max_length: int
    length: int = 0

    @property
    def room(self) -> int:
        """Tokens that it can still take."""
        return self.max_length - self.length

    def rewind(self, length: int) -> None:
        """Forget tokens; what lies behind ``length`` is masked and will be written over."""
        self.length = min(self.length, length)


@dataclass(frozen=True)
class Feed:
    """Tokens to append to one sequence, and which logits are wanted.

    Parameters
    ----------
    slot
        The sequence.
    token_ids
        At least one token.
    rows
        The token ids that may come next: only their logits are computed, or kept.
    num_wanted
        Logits after the last so many tokens are returned; 0: none.
    """

    slot: Slot
    token_ids: Sequence[int]
    rows: range
    num_wanted: int = 1


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

    @property
    def max_batch(self) -> int:
        """Sequences that one call of `forward` serves well."""
        ...

    def open_slot(self) -> Slot:
        """Return an empty sequence."""
        ...

    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens to sequences, each of which is named once; return their logits.

        Returns
        -------
        list
            For each feed float32 [num_wanted, len(rows)], in the order of the feeds.

        Raises
        ------
        GenerationFault
            A sequence would outgrow `max_length`.
        """
        ...

    def encode(self, images: Images) -> CodeRows:
        """Films [N, 1, 256, 256] -> codes [N, 256]."""
        ...

    def decode(self, codes: CodeRows) -> Images:
        """Codes [N, 256] -> films [N, 1, 256, 256]."""
        ...

    def classify(self, image: Image) -> dict[str, NDArray[np.float32]]:
        """Film -> probabilities of ``view``, ``turn``, ``inverted``, ``findings``; ``novelty``.

        A bundle that can explain itself gives ``evidence`` [14, H, W] as well.
        """
        ...


def refuse_overflow(feeds: Sequence[Feed]) -> None:
    """Refuse feeds for which a cache has no room.

    Raises
    ------
    GenerationFault
        A sequence would outgrow its cache.
    """
    for feed in feeds:
        if len(feed.token_ids) > feed.slot.room:
            limit = feed.slot.length + feed.slot.room
            reason = f"the sequence is longer than {limit} tokens"
            raise GenerationFault(reason, hint="ask a shorter question")
