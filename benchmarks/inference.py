"""What it costs to run the model in a process of its own: its start, and each report.

`python -m benchmarks.inference [--bundle DIR]`
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from engine.config import EngineSettings
from engine.pipeline import Engine
from engine.results import Image
from node.config import WorkSettings
from node.inference import InferenceChild
from node.ports import Drafter

_STARTS, _REPORTS = 5, 9


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
    for _ in range(_REPORTS):  # in turn: what else the machine does falls on both
        for name, engine in models.items():
            taken[name].append(_around_ms(engine, film))
    for name, pairs in taken.items():
        took_ms, around_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"report {name}: median {took_ms:.0f} ms, {around_ms:.2f} ms of it around the model")
    child.stop()


if __name__ == "__main__":
    main()
