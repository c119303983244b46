"""What a person waits for with a bundle: a draft, an answer, a drawing, and a question beside one.

`python -m benchmarks.drafting [--bundle DIR] [--rounds 9]`

The films are drawn by the bundle itself, each measurement takes another one. Medians; a repeat
counts if other processes stayed below a twentieth of a core meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quiet import quietly
from engine.phrases import NO_PHRASES
from engine.pipeline import Engine
from engine.results import Image
from engine.scheduler import Urgency

_TEXT = "Findings: There is a small left pleural effusion.\nImpression: Left pleural effusion."
_QUESTIONS = ("Is there a pleural effusion?", "Is the heart enlarged?")


class FirstToken(Exception):
    """The first token of an answer is there."""


class Desk:
    """An engine and films that it has not seen."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.films = [engine.draw(_TEXT, seed=seed).image for seed in range(4)]
        self.num_shown = 0

    def film(self) -> Image:
        """Return a film that is new by a shade."""
        self.num_shown += 1
        film = self.films[self.num_shown % len(self.films)]
        return np.clip(film + np.float32(1e-5 * self.num_shown), -1, 1)

    def report(self) -> float:
        """Return the seconds of a draft: encoding, classifier, prompt, text."""
        return _timed(lambda film: self.engine.report(film), self.film())

    def report_without_phrases(self) -> float:
        """Return the same with one token a step."""
        phrases, self.engine.phrases = self.engine.phrases, NO_PHRASES
        try:
            return self.report()
        finally:
            self.engine.phrases = phrases

    def first_answer(self) -> float:
        """Return the seconds until the first token about a film that nobody asked about before."""
        return _timed(lambda film: self._first_token(film, _QUESTIONS[0]), self.film())

    def follow_up(self) -> float:
        """Return the seconds until the first token of a second, different question."""
        film = self.film()
        self.engine.ask(film, _QUESTIONS[0])
        return _timed(lambda known: self._first_token(known, _QUESTIONS[1]), film)

    def asked_again(self) -> float:
        """Return the seconds until the first token of the same question."""
        film = self.film()
        self.engine.ask(film, _QUESTIONS[0])
        return _timed(lambda known: self._first_token(known, _QUESTIONS[0]), film)

    def drawing(self) -> float:
        """Return the seconds of a drawing, decoder included."""
        return _timed(lambda _: self.engine.draw(_TEXT, seed=self.num_shown), self.film())

    def codes(self) -> float:
        """Return the seconds of encoding a film and decoding it."""
        backend = self.engine.backend
        return _timed(lambda film: backend.decode(backend.encode(film[None])), self.film())

    def beside_a_drawing(self) -> float:
        """Return the seconds of an urgent draft while a film is being drawn."""
        drawn = threading.Thread(target=self.engine.draw, args=(_TEXT,), kwargs={"seed": 1})
        drawn.start()
        time.sleep(0.05)
        film = self.film()
        took_s = _timed(lambda known: self.engine.report(known, urgency=Urgency.STAT), film)
        drawn.join()
        return took_s

    def _first_token(self, film: Image, question: str) -> None:
        def stop(done: int) -> None:
            raise FirstToken

        try:
            self.engine.ask(film, question, advance=stop)
        except FirstToken:
            return


_MEASURED: dict[str, Callable[[Desk], float]] = {
    "draft of a new film": Desk.report,
    "the same, one token a step": Desk.report_without_phrases,
    "urgent draft beside a drawing": Desk.beside_a_drawing,
    "first token about a new film": Desk.first_answer,
    "first token of another question": Desk.follow_up,
    "first token of the same question": Desk.asked_again,
    "drawing of 256 codes": Desk.drawing,
    "film to codes to film": Desk.codes,
}


def _timed(work: Callable[[Image], object], film: Image) -> float:
    began = time.perf_counter()
    work(film)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="model bundle (default: the demo bundle)")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tries", type=int, default=6, help="repeats until one is undisturbed")
    options = parser.parse_args()
    engine = Engine.load(options.bundle, backend=options.backend)
    engine.warm_up()
    desk = Desk(engine)
    taken: dict[str, list[float]] = {name: [] for name in _MEASURED}
    num_disturbed = 0
    for _ in range(options.rounds):
        for name, measure in _MEASURED.items():
            took_s, was_quiet = quietly(lambda measure=measure: measure(desk), [], options.tries)
            taken[name].append(1000 * took_s)
            num_disturbed += not was_quiet
    table = Table("milliseconds", "median", "least", "most", title=engine.backend.name)
    for name, times in taken.items():
        table.add_row(name, *(f"{f(times):.1f}" for f in (statistics.median, min, max)))
    Console().print(table)
    print(f"repeats that were disturbed to the last: {num_disturbed}")


if __name__ == "__main__":
    main()
