"""What it costs to run the model in a process of its own: its start, each report, each question.

A question is asked alone, and in the middle of a drawing that it does not wait for.

`python -m benchmarks.inference [--bundle DIR]`
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from engine.config import EngineSettings
from engine.pipeline import Engine
from engine.results import Image
from engine.scheduler import Urgency
from node.config import WorkSettings
from node.inference import InferenceChild
from node.ports import Drafter

_STARTS, _REPORTS, _QUESTIONS = 5, 9, 5
_QUESTION, _TEXT = "Is the heart enlarged?", "The heart is enlarged. Small left pleural effusion."
_UNDER_WAY_S = 0.2


def _start_s(settings: EngineSettings) -> float:
    """Return the seconds from nothing to a model that is loaded and warm."""
    began = time.perf_counter()
    child = InferenceChild(settings, WorkSettings())
    child.start()
    child.warm_up()
    took_s = time.perf_counter() - began
    child.stop()
    return took_s


def _around_ms(engine: Drafter, film: Image) -> tuple[float, float]:
    """Return the milliseconds of a report, and those of them that the model did not take."""
    began = time.perf_counter()
    inside_ms = engine.report(film).provenance.milliseconds
    took_ms = 1000 * (time.perf_counter() - began)
    return took_ms, took_ms - inside_ms


def _question_ms(engine: Drafter, film: Image) -> float:
    """Return the milliseconds of an urgent question."""
    began = time.perf_counter()
    engine.ask(film, _QUESTION, urgency=Urgency.STAT)
    return 1000 * (time.perf_counter() - began)


def _draw_ms(engine: Drafter) -> float:
    """Return the milliseconds of a drawing."""
    began = time.perf_counter()
    engine.draw(_TEXT, seed=1)
    return 1000 * (time.perf_counter() - began)


def _beside_ms(engine: Drafter, film: Image) -> tuple[float, float]:
    """Return the milliseconds of a question in the middle of a drawing, and of that drawing."""
    with ThreadPoolExecutor(1) as threads:
        drawing = threads.submit(_draw_ms, engine)
        time.sleep(_UNDER_WAY_S)
        return _question_ms(engine, film), drawing.result()


def _measure_questions(engine: Drafter) -> None:
    """Ask alone and beside a drawing, in turn, each time on a film that the model has not seen."""
    films = np.random.default_rng(1).uniform(-1, 1, (2 * _QUESTIONS, 1, 256, 256))
    taken: dict[str, list[float]] = {}
    for alone_on, beside_on in films.astype(np.float32).reshape(_QUESTIONS, 2, 1, 256, 256):
        question_ms, drawing_ms = _beside_ms(engine, beside_on)
        for name, took_ms in (
            ("question alone", _question_ms(engine, alone_on)),
            ("question while a drawing runs", question_ms),
            ("drawing alone", _draw_ms(engine)),
            ("drawing while a question is asked", drawing_ms),
        ):
            taken.setdefault(name, []).append(took_ms)
    for name, values in taken.items():
        print(f"{name}: median {statistics.median(values):.0f} ms")


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="model bundle (default: the demo bundle)")
    settings = EngineSettings(bundle=parser.parse_args().bundle)
    starts_s = [_start_s(settings) for _ in range(_STARTS)]
    shown = " ".join(f"{took_s:.2f}" for took_s in starts_s)
    print(f"start to ready: median {statistics.median(starts_s):.2f} s of {shown}")
    film = np.random.default_rng(0).uniform(-1, 1, (1, 256, 256)).astype(np.float32)
    child, plain = InferenceChild(settings, WorkSettings()), Engine.load(settings.bundle)
    models: dict[str, Drafter] = {"in this process": plain, "in its own": child}
    for engine in models.values():
        engine.warm_up()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for number in range(_REPORTS):  # in turn: what else the machine does falls on both
        unseen = film + np.float32(1e-5 * (number + 1))  # nothing of it is remembered
        for name, engine in models.items():
            taken[name].append(_around_ms(engine, unseen))
    for name, pairs in taken.items():
        took_ms, around_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"report {name}: median {took_ms:.0f} ms, {around_ms:.2f} ms of it around the model")
    _measure_questions(child)
    child.stop()


if __name__ == "__main__":
    main()
