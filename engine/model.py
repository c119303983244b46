"""What the command line asks of a model: the engine is one, and so is a test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Unpack

from engine.generation import Advance
from engine.pixels import Transform
from engine.results import Answer, DraftReport, Drawing, Image, Inspection
from engine.study_input import Beside
from engine.tasks.api import Follower


class Model(Follower, Protocol):
    """What the command line asks of a model; `engine.pipeline.Engine` is one."""

    @property
    def transform(self) -> Transform:
        """How a film becomes an image."""

    def inspect(self, image: Image) -> Inspection:
        """Judge whether a film may be drafted from."""

    @property
    def inputs(self) -> Sequence[str]:
        """The parts of a study that the model was trained with."""

    def report(
        self, image: Image, *, advance: Advance = ..., **beside: Unpack[Beside]
    ) -> DraftReport:
        """Draft a report from a film and what is known beside it."""

    def ask(self, image: Image, question: str, *, advance: Advance = ...) -> Answer:
        """Answer a question."""

    def draw(self, text: str, *, seed: int, advance: Advance = ...) -> Drawing:
        """Draw a synthetic film."""


Load = Callable[[Path | None], Model]
