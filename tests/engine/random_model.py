"""A language model with random weights: no training, no memory beyond two tokens."""

from collections.abc import Sequence

import numpy as np

from engine.backends.base import Feed
from engine.vocabulary import Vocabulary

VOCABULARY = Vocabulary(num_text=40, end_id=3, image_open_id=1, image_close_id=2)


class RandomSlot:
    """A sequence of `RandomModel`: it remembers the sum of its tokens."""

    def __init__(self, room: int = 2000) -> None:
        self.ids: list[int] = []
        self.max_length = room

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def room(self) -> int:
        return self.max_length - self.length

    def rewind(self, length: int) -> None:
        del self.ids[length:]


class RandomModel:
    """A language model with random weights: a row of logits for every sum of two tokens."""

    name, max_length, max_batch = "random", 2000, 4

    def __init__(self, seed: int, scale: float) -> None:
        rng = np.random.default_rng(seed)
        self.table = (rng.normal(size=(97, VOCABULARY.size)) * scale).astype(np.float32)
        self.num_steps = 0

    def open_slot(self) -> RandomSlot:
        return RandomSlot()

    def forward(self, feeds: Sequence[Feed]) -> list[np.ndarray]:
        self.num_steps += 1
        return [self._append(feed) for feed in feeds]

    def _append(self, feed: Feed) -> np.ndarray:
        feed.slot.ids.extend(feed.token_ids)
        ids = feed.slot.ids
        ends = range(len(ids) - feed.num_wanted + 1, len(ids) + 1)
        rows = [self.table[sum(ids[max(0, end - 2) : end]) % 97] for end in ends]
        return np.reshape(rows, (-1, VOCABULARY.size))[:, feed.rows.start : feed.rows.stop]
