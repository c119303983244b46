"""The inside of a process whose model behaves in the way that its bundle is named after."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from engine.errors import BundleCorrupt, EngineError, GenerationFault
from engine.results import Answer, DraftReport, Drawing, Image
from engine.scheduler import Urgency
from engine.study_input import Beside, Part
from node.config import Settings
from node.inference_child import main
from node.inference_wire import Message
from tests.fakes import FakeEngine


class OwnFault(EngineError):
    """It has a class that the node does not know."""


def _unforeseen() -> None:
    print("Doe^Jane")
    print("Doe^Jane", file=sys.stderr)
    raise ZeroDivisionError("Doe^Jane")


def _garble() -> None:
    Message.pack = lambda self, number: b"Doe^Jane" * 100  # type: ignore[method-assign]


def _refuse(error: Exception) -> None:
    raise error


_COMPANY = threading.Barrier(2)
_DEVICE = threading.Lock()


def _take_turns() -> None:
    with _DEVICE:
        time.sleep(1.2)


_REPORTS: dict[str, Any] = {
    "meets": lambda: _COMPANY.wait(10),
    "serial": _take_turns,
    "unforeseen": _unforeseen,
    "garbage": _garble,
    "swells": lambda: bytearray(4 << 30),
    "runtime": lambda: _refuse(RuntimeError("[ONNXRuntimeError] std::bad_alloc")),
    "thread": lambda: _refuse(RuntimeError("error code: 12 error msg: Cannot allocate memory")),
    "threads": lambda: _refuse(RuntimeError("error code: 11 Resource temporarily unavailable")),
    "fault": lambda: _refuse(GenerationFault("no numbers", hint="cool it down")),
    "own": lambda: _refuse(OwnFault()),
    "hangs": lambda: time.sleep(60),
    "slow": lambda: time.sleep(1),
    "crashes": lambda: signal.raise_signal(signal.SIGSEGV),
    "aborts": lambda: signal.raise_signal(signal.SIGABRT),
    "leaves": lambda: os._exit(3),
}


class StrangeEngine(FakeEngine):
    """Misbehaves on dark films alone, where it misbehaves at all; takes a second for white ones."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self._way = way
        self._inside = self._most_inside = 0
        self._counting = threading.Lock()
        if way == "parts":
            self.inputs = tuple(Part)
        if way == "changes":
            self.digest = f"{os.getpid():064x}"

    def report(
        self, image: Image, *, urgency: Urgency = Urgency.ROUTINE, **beside: Unpack[Beside]
    ) -> DraftReport:
        if image.mean() < 0:
            _REPORTS.get(self._way, lambda: None)()
        if image.mean() > 0.8:
            time.sleep(1)
        return super().report(image, **beside)

    def ask(
        self,
        image: Image,
        question: str,
        *,
        urgency: Urgency = Urgency.ROUTINE,
        **beside: Unpack[Beside],
    ) -> Answer:
        """Answer how many asked at one time at the most, and how urgently this one did."""
        with self._counting:
            self._inside += 1
            self._most_inside = max(self._most_inside, self._inside)
        time.sleep(0.3)
        with self._counting:
            self._inside -= 1
        answer = super().ask(image, question, **beside)
        if self._way == "counts":
            return replace(answer, text=f"{self._most_inside} {urgency.name}")
        return answer

    def draw(self, text: str, *, seed: int, urgency: Urgency = Urgency.ILLUSTRATION) -> Drawing:
        drawing = super().draw(text, seed=seed)
        if text == "no numbers":
            return replace(drawing, image=np.full_like(drawing.image, np.nan))
        if text == "no codes":
            return replace(drawing, codes=(1024, *drawing.codes[1:]))
        return drawing


def _load(settings: Settings) -> StrangeEngine:
    assert settings.engine.bundle is not None
    way = settings.engine.bundle.name
    if way == "spoiled":
        raise BundleCorrupt("encoder.onnx is missing from the bundle")
    if way == "late":
        time.sleep(60)
    if way == "imports":
        raise ImportError("Doe^Jane")
    if way == "notes":
        logging.getLogger("engine.backends.select").warning("backend skipped: gpu: none here")
    return StrangeEngine(way)


if __name__ == "__main__":
    main(_load)
