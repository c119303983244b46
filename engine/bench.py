"""How fast a bundle runs here, backend by backend: what `cxr bench` prints."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from engine.backends.base import Backend, Feed, Slot
from engine.backends.select import open_backend, survey
from engine.bundle import Bundle
from engine.errors import BackendUnavailable
from engine.vocabulary import CODES_PER_IMAGE, NUM_CODES, Vocabulary

PROMPT = 300
"""Tokens of a prompt on a film, instruction and all."""
TOGETHER = 8
_STEPS, _ROUNDS = 16, 5


@dataclass(frozen=True)
class Timing:
    """One backend: what takes how many milliseconds (medians), or why it does not run."""

    backend: str
    reason: str
    milliseconds: Mapping[str, float]


@dataclass
class _Workbench:
    """A backend with a film, a prompt and sequences that have read it."""

    backend: Backend
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        """Make up a film and a prompt: their content changes no time."""
        rng = np.random.default_rng(0)
        self.film = rng.uniform(-1, 1, (1, 1, 256, 256)).astype(np.float32)
        self.codes = rng.integers(0, NUM_CODES, (1, CODES_PER_IMAGE))
        self.prompt = rng.integers(0, self.vocabulary.num_text, PROMPT).tolist()
        self.slots = [self.backend.open_slot() for _ in range(TOGETHER)]

    def encode(self) -> None:
        """Film to codes."""
        self.backend.encode(self.film)

    def decode(self) -> None:
        """Codes to film."""
        self.backend.decode(self.codes)

    def classify(self) -> None:
        """Judge a film, as the guard and the findings need it."""
        self.backend.classify(self.film[0])

    def prefill(self) -> None:
        """Read a prompt."""
        self.slots[0].rewind(0)
        self._feed(self.slots[:1], self.prompt, self.vocabulary.text_range)

    def words(self) -> None:
        """Write words after it."""
        self._go_on(self.slots[:1], self.vocabulary.text_range)

    def draw(self) -> None:
        """Write codes after it."""
        self._go_on(self.slots[:1], self.vocabulary.image_range)

    def together(self) -> None:
        """Write words in several sequences at once."""
        self._go_on(self.slots, self.vocabulary.text_range)

    def _go_on(self, slots: list[Slot], rows: range) -> None:
        for slot in slots:
            slot.rewind(PROMPT)
        for _ in range(_STEPS):
            self._feed(slots, self.prompt[:1], rows)

    def _feed(self, slots: list[Slot], ids: list[int], rows: range) -> None:
        self.backend.forward([Feed(slot, ids, rows) for slot in slots])

    def fill(self) -> None:
        """Have every sequence read the prompt, one after the other."""
        for slot in self.slots:
            slot.rewind(0)
            self._feed([slot], self.prompt, self.vocabulary.text_range)


_WORK: Mapping[str, tuple[Callable[[_Workbench], None], int]] = {
    "film to codes": (_Workbench.encode, 1),
    "codes to film": (_Workbench.decode, 1),
    "classifier": (_Workbench.classify, 1),
    f"prompt of {PROMPT}": (_Workbench.prefill, 1),
    "word": (_Workbench.words, _STEPS),
    "code": (_Workbench.draw, _STEPS),
    f"word, {TOGETHER} at once": (_Workbench.together, _STEPS * TOGETHER),
}
"""What is timed, and how many of it one call does."""

NAMES = tuple(_WORK)


def bench(bundle: Bundle, num_threads: int = 0) -> Iterator[Timing]:
    """Yield the times of each backend, by preference; one that does not run says why."""
    for row in survey(bundle):
        if not row.is_available:
            yield Timing(row.name, row.reason, {})
            continue
        try:
            backend = open_backend(bundle, row.name, num_threads)
        except BackendUnavailable as fault:
            yield Timing(row.name, str(fault), {})
            continue
        yield Timing(row.name, "", _times_ms(_Workbench(backend, bundle.vocabulary)))


def _times_ms(workbench: _Workbench) -> dict[str, float]:
    """Return the median milliseconds of everything; the first round warms up."""
    workbench.fill()
    return {
        name: statistics.median([_once_ms(work, workbench) for _ in range(_ROUNDS + 1)][1:]) / count
        for name, (work, count) in _WORK.items()
    }


def _once_ms(work: Callable[[_Workbench], None], workbench: _Workbench) -> float:
    began = time.perf_counter()
    work(workbench)
    return 1000 * (time.perf_counter() - began)
