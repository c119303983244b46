"""A tiny deterministic model, and a clock that tests move."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from pydicom import dcmread

from engine.assessment import Assessment, Bands, assess
from engine.errors import EngineError
from engine.findings import FINDINGS
from engine.pixels import Transform, render
from engine.results import (
    Answer,
    DraftReport,
    Drawing,
    Evidence,
    Image,
    Inspection,
    Provenance,
)
from engine.scheduler import Urgency
from engine.study_input import Beside, Part


class FakeEngine:
    """Answers like `engine.pipeline.Engine`, from the mean of the film."""

    name = "fake"
    version = "1"
    digest = hashlib.sha256(b"fake").hexdigest()
    device_uid = "2.25.314159"
    license = "none"
    intended_use = "tests"
    transform = Transform()
    inputs: tuple[str, ...] = ("frontal",)

    def __init__(self, *, rejects: tuple[str, ...] = (), fails: bool = False) -> None:
        self.rejects = rejects
        self.fails = fails
        self.num_reports = 0
        self.urgencies: list[Urgency] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.given: list[Beside] = []
        """What was given beside each film that was reported on or asked about."""

    def warm_up(self) -> None:
        """There is nothing to load."""

    def inspect(self, image: Image) -> Inspection:
        return Inspection(not self.rejects, "frontal", self.rejects, {"frontal": 1.0})

    def report(
        self, image: Image, *, urgency: Urgency = Urgency.ROUTINE, **beside: Unpack[Beside]
    ) -> DraftReport:
        self.may_answer.wait(30)
        self.given.append(beside)
        if self.fails:
            raise EngineError("the fake model was told to fail")
        self.num_reports += 1
        finding = f"The mean of the film is {float(image.mean()):.3f}."
        impression = "No acute finding."
        text = f"{finding} {impression}"
        return DraftReport((finding,), (impression,), text, self._provenance(None, **beside))

    def ask(
        self,
        image: Image,
        question: str,
        *,
        urgency: Urgency = Urgency.ROUTINE,
        **beside: Unpack[Beside],
    ) -> Answer:
        self.urgencies.append(urgency)
        self.given.append(beside)
        if self.fails:
            raise EngineError("the fake model was told to fail")
        text = f"The mean of the film is {float(image.mean()):.3f}."
        return Answer(question, text, self._provenance(None, **beside))

    def follow(
        self,
        instruction: str,
        image: Image | None = None,
        *,
        text: str = "",
        options: Sequence[str] = (),
        max_new_tokens: int = 64,
        urgency: Urgency = Urgency.ROUTINE,
    ) -> Answer:
        """Choose the first option, say yes of films, repeat texts: replies that tasks can read."""
        self.urgencies.append(urgency)
        if self.fails:
            raise EngineError("the fake model was told to fail")
        said = "Yes." if image is not None else f"Said of: {text}"
        said = options[0] if options else said
        return Answer(instruction, said, self._provenance(None))

    def draw(self, text: str, *, seed: int, urgency: Urgency = Urgency.ILLUSTRATION) -> Drawing:
        ramp = np.linspace(-1, 1, 256, dtype=np.float32)
        image = np.broadcast_to(ramp, (1, 256, 256)).copy()
        return Drawing(text, image, tuple(range(256)), self._provenance(seed))

    def assess(self, image: Image, text: str, bands: Bands) -> tuple[Assessment, ...]:
        return assess(dict.fromkeys(FINDINGS, 0.02), FINDINGS, text, bands)

    def evidence(self, image: Image) -> dict[str, Evidence]:
        return {name: np.eye(8, dtype=np.float32) for name in FINDINGS}

    def _provenance(self, seed: int | None, **beside: Unpack[Beside]) -> Provenance:
        """Return a record that names the parts that the model knows and was given."""
        given = {name for name, value in beside.items() if isinstance(value, np.ndarray) or value}
        inputs = tuple(part for part in Part if part in self.inputs and part in {*given, "frontal"})
        shown = tuple(map(str, inputs))
        return Provenance(
            self.name, self.version, self.digest, "1", "fake", seed, 1.0, inputs=shown
        )


class PlainRenderer:
    """Renders films in this process: what is tested is not how pixels are kept apart."""

    def render(self, path: Path, transform: Transform) -> Image:
        return render(dcmread(path), transform)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
