"""`cxr`: draft a report from a film, ask about a film, draw a film, time all of it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine import completion, parts_cli
from engine.banner import burn
from engine.errors import CxrError, PromptError
from engine.generation import Advance
from engine.model import Load, Model
from engine.pipe import ends_with_its_reader
from engine.pixels import render_file, to_uint8
from engine.png import SYNTHETIC_NOTE, save_png
from engine.results import Image, Inspection
from engine.tasks import cli as tasks
from engine.vocabulary import CODES_PER_IMAGE

DRAFT_STATUS = "AI DRAFT - NOT VERIFIED"
FAULT, REFUSED = 1, 3
"""Exit codes: an error, and a film that the guard will not have read."""

_SAFETY = "Research software, not a medical device: every draft needs a radiologist."


class FilmRefused(CxrError):
    """The guard refuses the film."""

    default_hint = "`--force` reads it all the same; do not trust the answer"

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(f"the film is refused: {'; '.join(self.reasons)}")


@ends_with_its_reader
def main(arguments: Sequence[str] | None = None, load: Load | None = None) -> int:
    """Run one verb; return the exit status.

    Parameters
    ----------
    load
        Opens a bundle; None takes the real engine.
    """
    options = _parsed(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        _VERBS[options.verb](options, load or _load)
    except FilmRefused as error:
        if options.json:
            _print_json({"status": "REFUSED", "reasons": error.reasons})
        print(f"refused: {error.lines()}", file=sys.stderr)
        return REFUSED
    except CxrError as error:
        print(f"error: {error.lines()}", file=sys.stderr)
        return FAULT
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; a question may stand behind them, which argparse 3.11 does not know."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    if options.verb == "ask" and options.question is None and len(left) == 1:
        options.question = left.pop() if not left[0].startswith("-") else None
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="cxr", description=f"Chest X-rays and a language model. {_SAFETY}"
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument(
        "--bundle", type=Path, metavar="DIR", help="model bundle (default: the demo bundle)"
    )
    film = argparse.ArgumentParser(add_help=False)
    film.add_argument("film", type=Path, metavar="FILE", help="a film: DICOM, PNG or JPEG")
    film.add_argument("--force", action="store_true", help="read a film that the guard refuses")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    report = verbs.add_parser("report", parents=[common, film], help="draft a report")
    parts_cli.add_arguments(report)
    ask = verbs.add_parser("ask", parents=[common], help="ask about a film, or put a task")
    ask.add_argument("film", type=Path, nargs="?", metavar="FILE", help="a film, as for report")
    ask.add_argument("question", nargs="?", metavar="QUESTION")
    ask.add_argument("--force", action="store_true", help="read a film that the guard refuses")
    tasks.add_arguments(ask)
    draw = verbs.add_parser("draw", parents=[common], help="draw a synthetic film")
    draw.add_argument("text", metavar="TEXT", help="what the film is to show")
    draw.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PNG", help="file to write"
    )
    draw.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another film")
    verbs.add_parser("bench", parents=[common], help="time every backend that runs here")
    completion.add_verb(verbs)
    return parser


def _load(bundle: Path | None) -> Model:
    """Open a bundle with the real engine."""
    from engine.pipeline import Engine

    return Engine.load(bundle)


def _report(options: argparse.Namespace, load: Load) -> None:
    """Draft a report."""
    model, image, inspection = _read_film(options, load)
    with _progress("drafting") as advance:
        draft = model.report(image, advance=advance, **parts_cli.beside(options, model))
    if options.json:
        _print_json({"status": DRAFT_STATUS, "inspection": asdict(inspection), **asdict(draft)})
        return
    sections = (("Findings", draft.findings), ("Impression", draft.impression))
    print(DRAFT_STATUS)
    for heading, sentences in sections:
        print(f"\n{heading}", *(f"- {sentence}" for sentence in sentences), sep="\n")


def _ask(options: argparse.Namespace, load: Load) -> None:
    """Answer a question, or do a task."""
    if options.list_tasks:
        _list_tasks(options)
        return
    if tasks.is_task(options):
        _put_task(options, load)
        return
    question = _not_empty(options.question or "", "the question")
    if options.film is None:
        raise PromptError("no film is named", hint="name its file before the question")
    model, image, inspection = _read_film(options, load)
    with _progress("answering") as advance:
        answer = model.ask(image, question, advance=advance)
    if options.json:
        _print_json({"status": DRAFT_STATUS, "inspection": asdict(inspection), **asdict(answer)})
        return
    print(answer.text)
    print(f"{DRAFT_STATUS}. {_SAFETY}", file=sys.stderr)


def _put_task(options: argparse.Namespace, load: Load) -> None:
    """Do a task on a film, or on a text alone."""
    record: dict[str, Any] = {"status": DRAFT_STATUS}
    image = None
    if options.film is None:
        model = _opened(options, load)
    else:
        model, image, inspection = _read_film(options, load)
        record["inspection"] = asdict(inspection)
    other = _read_second(options.second, model) if options.second else None
    with _progress("answering") as advance:
        answer = tasks.put(options, model, image, other, advance)
    if options.json:
        _print_json({**record, **answer.as_json()})
        return
    print(tasks.shown(answer))
    print(f"{DRAFT_STATUS}. {_SAFETY}", file=sys.stderr)


def _list_tasks(options: argparse.Namespace) -> None:
    """Print the tasks."""
    if options.json:
        print(json.dumps(tasks.task_records()))
        return
    print(*tasks.task_lines(), sep="\n")


def _draw(options: argparse.Namespace, load: Load) -> None:
    """Draw a film and write it with its banner."""
    text = _not_empty(options.text, "the text")
    model = _opened(options, load)
    with _progress("drawing", CODES_PER_IMAGE) as advance:
        drawing = model.draw(text, seed=options.seed, advance=advance)
    notes = {
        **SYNTHETIC_NOTE,
        "Prompt": drawing.prompt,
        "Provenance": json.dumps(drawing.provenance.as_json()),
    }
    save_png(options.output, burn(to_uint8(drawing.image)), notes)
    if options.json:
        record = {"prompt": drawing.prompt, "codes": drawing.codes}
        provenance = drawing.provenance.as_json()
        output = str(options.output)
        _print_json({"status": "SYNTHETIC", "output": output, **record, "provenance": provenance})
    else:
        print(f"synthetic film written to {options.output}")


def _bench(options: argparse.Namespace, load: Load) -> None:
    """Time every backend that runs here."""
    from engine.bench import NAMES, bench
    from engine.bundle import open_bundle

    with _stderr().status("timing"):
        timings = list(bench(open_bundle(options.bundle)))
    if options.json:
        print(json.dumps([asdict(one) for one in timings]))
        return
    table = Table("milliseconds of a", *(one.backend for one in timings if not one.reason))
    for name in NAMES:
        row = (f"{one.milliseconds[name]:.2f}" for one in timings if not one.reason)
        table.add_row(name, *row)
    Console().print(table)
    for one in timings:
        if one.reason:
            print(f"{one.backend} does not run here: {one.reason}")


def _completion(options: argparse.Namespace, _load: Load) -> None:
    """Print what completes our words in a shell."""
    print(completion.script(_parser(), options.shell), end="")


def _read_film(options: argparse.Namespace, load: Load) -> tuple[Model, Image, Inspection]:
    """Return the model, the rendered film and what the guard says of it."""
    model = _opened(options, load)
    image = render_file(options.film, model.transform)
    inspection = model.inspect(image)
    if not inspection.accepted and not options.force:
        raise FilmRefused(inspection.reasons)
    for reason in inspection.reasons:
        print(f"warning: {reason}", file=sys.stderr)
    return model, image, inspection


def _read_second(path: Path, model: Model) -> Image:
    """Return the film that another is compared with; any view may be meant, a foreign image not."""
    image = render_file(path, model.transform)
    if model.inspect(image).view == "other":
        print("warning: the second film does not look like a chest film", file=sys.stderr)
    return image


def _opened(options: argparse.Namespace, load: Load) -> Model:
    """Open the bundle."""
    with _stderr().status("loading the model"):
        return load(options.bundle)


def _not_empty(text: str, name: str) -> str:
    if not text.strip():
        raise PromptError(f"{name} is empty", hint="put it in quotes")
    return text.strip()


def _stderr() -> Console:
    return Console(stderr=True)


@contextmanager
def _progress(verb: str, total: int | None = None) -> Iterator[Advance]:
    """Show progress in a terminal on standard error, and nothing anywhere else."""
    console = _stderr()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda done: bar.update(task, completed=done)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, ensure_ascii=False))


_VERBS: dict[str, Callable[[argparse.Namespace, Load], None]] = {
    "report": _report,
    "ask": _ask,
    "draw": _draw,
    "bench": _bench,
    "completion": _completion,
}

if __name__ == "__main__":
    raise SystemExit(main())
