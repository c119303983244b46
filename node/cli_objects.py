"""The verbs of `cxr-node` that are about objects: what they are, and whether they are right.

What builds objects is loaded by the verb that needs it: it would slow down every other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.cli_open import settings_of
from node.clock import SystemClock, as_datetime
from node.errors import NodeError
from node.loading import load_engine
from node.viewer_rules import broken_rules


class NotReadable(NodeError):
    """The file is no DICOM object that can be read."""

    default_hint = "name an object as the node sends it"


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verbs to the command line."""
    statement = verbs.add_parser(
        "conformance", parents=[common], help="print the DICOM conformance statement (PS3.2)"
    )
    statement.add_argument("--output", metavar="FILE", type=Path, help="write it to a file")
    lint = verbs.add_parser(
        "lint", parents=[machine], help="tell what viewers would stumble over in reports"
    )
    lint.add_argument("files", metavar="FILE", nargs="+", type=Path)
    draw = verbs.add_parser(
        "draw", parents=[common, machine], help="draw a synthetic film from a text, marked as such"
    )
    draw.add_argument("text", metavar="TEXT", help="a report of what it is to show")
    draw.add_argument("--seed", type=int, default=0, help="the same seed draws the same film")
    draw.add_argument("--output", metavar="FILE", type=Path, default=Path("synthetic.dcm"))
    phantom = verbs.add_parser(
        "phantom",
        parents=[common],
        help="write a film of nobody, marked as such, for a trial",
    )
    phantom.add_argument("file", metavar="FILE", type=Path)
    phantom.add_argument("--seed", type=int, default=0, help="begin with this drawing")
    again = verbs.add_parser(
        "redraw",
        parents=[common, machine],
        help="draw a synthetic film again and compare the two",
    )
    again.add_argument("file", metavar="FILE", type=Path)


def conformance(options: argparse.Namespace) -> int:
    """Print the conformance statement of the configuration in force."""
    from node.conformance import conformance_statement

    statement = conformance_statement(settings_of(options))
    if options.output is None:
        print(statement, end="")
    else:
        options.output.write_text(statement, encoding="utf-8")
    return 0


def lint(options: argparse.Namespace) -> int:
    """Name the viewers' rules that reports break."""
    broken = {str(path): broken_rules(_read(path)) for path in options.files}
    if options.json:
        print(json.dumps(broken, indent=2))
    else:
        for path, rules in broken.items():
            print(*(f"{path}: {rule}\n" for rule in rules), sep="", end="")
    return 1 if any(broken.values()) else 0


def draw(options: argparse.Namespace) -> int:
    """Draw a film from a text."""
    from node.drawing import draw_film

    settings = settings_of(options)
    film = draw_film(
        load_engine(settings),
        options.text,
        seed=options.seed,
        now=as_datetime(SystemClock().now()).astimezone(),
        settings=settings.outputs.synthetic,
    )
    film.save_as(options.output, enforce_file_format=True)
    patient_id, description = str(film.PatientID), str(film.SeriesDescription)
    if options.json:
        shown = {"file": str(options.output), "series_description": description}
        print(json.dumps({**shown, "patient_id": patient_id}, indent=2))
    else:
        print(f"{options.output}: {description}, Patient ID {patient_id}")
    return 0


def phantom(options: argparse.Namespace) -> int:
    """Write a film of the phantom patient."""
    from node.drawn_phantom import attempts

    now = as_datetime(SystemClock().now()).astimezone()
    engine = load_engine(settings_of(options))
    *_, attempt = attempts(engine, options.seed, now)
    attempt.film.save_as(options.file, enforce_file_format=True)
    print(f"{options.file}: {attempt.film.PatientName}, synthetic, seed {attempt.seed}")
    return 0


def draw_again(options: argparse.Namespace) -> int:
    """Draw a film again from the object alone."""
    from node.drawing import redraw

    settings = settings_of(options)
    is_same = redraw(load_engine(settings), _read(options.file))
    if options.json:
        print(json.dumps({"file": str(options.file), "is_identical": is_same}, indent=2))
    else:
        print(f"{options.file}: {'the identical film' if is_same else 'ANOTHER film'}")
    return 0 if is_same else 1


def _read(path: Path) -> Dataset:
    try:
        return dcmread(path)
    except (OSError, InvalidDicomError) as error:
        raise NotReadable(f"cannot read {path}") from error
