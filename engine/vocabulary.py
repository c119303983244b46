"""One vocabulary for words and images: token id ``num_text + k`` is image code ``k``.

LLM-CXR (arXiv 2305.11490, section 3.2) appends the VQ-GAN codes to the embedding table of the
language model; the tokenizer itself never sees them. An image is ``<``, 256 code ids, ``>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.errors import PromptError

NUM_CODES = 1024
CODES_PER_IMAGE = 256


@dataclass(frozen=True)
class Vocabulary:
    """Where words end and image codes begin, and the three marks that generation needs.

    ``num_text`` is the number of text rows; ``size`` rows stand in the embedding table.
    """

    num_text: int
    end_id: int
    image_open_id: int
    image_close_id: int
    num_codes: int = NUM_CODES

    @property
    def size(self) -> int:
        """Rows of the embedding table: words, then codes."""
        return self.num_text + self.num_codes

    @property
    def text_range(self) -> range:
        """The token ids that are words and marks."""
        return range(self.num_text)

    @property
    def image_range(self) -> range:
        """The token ids that are image codes."""
        return range(self.num_text, self.size)

    def to_ids(self, codes: Iterable[int]) -> list[int]:
        """Image codes -> token ids.

        Raises
        ------
        PromptError
            A code lies outside the codebook.
        """
        listed = [int(code) for code in codes]
        if any(not 0 <= code < self.num_codes for code in listed):
            raise PromptError(f"image codes must lie in 0 … {self.num_codes - 1}")
        return [self.num_text + code for code in listed]

    def to_codes(self, ids: Iterable[int]) -> list[int]:
        """Token ids -> image codes.

        Raises
        ------
        PromptError
            An id is no image token.
        """
        listed = [int(token) for token in ids]
        if any(token not in self.image_range for token in listed):
            raise PromptError("a token that is no image code stands inside an image")
        return [token - self.num_text for token in listed]

    def image(self, codes: Sequence[int]) -> list[int]:
        """Return the token ids of a whole image: open mark, codes, close mark.

        Raises
        ------
        PromptError
            There are not exactly 256 codes.
        """
        if len(codes) != CODES_PER_IMAGE:
            raise PromptError(f"an image has {CODES_PER_IMAGE} codes, not {len(codes)}")
        return [self.image_open_id, *self.to_ids(codes), self.image_close_id]

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Vocabulary:
        """Read what `as_json` wrote."""
        return cls(**values)
