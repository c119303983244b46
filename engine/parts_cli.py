"""What ``cxr report`` is told beside the frontal film: the lateral one, and texts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.model import Model
from engine.pixels import render_file
from engine.study_input import FIRST_TO_GO, HEADINGS, Beside


def add_arguments(report: argparse.ArgumentParser) -> None:
    """Add what ``cxr report`` takes for the parts of a study."""
    report.add_argument("--lateral", type=Path, metavar="FILE", help="the study's lateral film")
    report.add_argument("--indication", default="", metavar="TEXT", help="why the film was taken")
    report.add_argument(
        "--previous-report", default="", metavar="TEXT", help="the report of the study before"
    )


def beside(options: argparse.Namespace, model: Model) -> Beside:
    """Return what is given beside the film; what the bundle does not read is said."""
    for part in FIRST_TO_GO:
        if getattr(options, part) and part not in model.inputs:
            name = HEADINGS[part].lower()
            _warn(f"this bundle was trained without: {name}; left out")
    given = Beside(indication=options.indication, previous_report=options.previous_report)
    if options.lateral:
        given["lateral"] = image = render_file(options.lateral, model.transform)
        if (view := model.inspect(image).view) != "lateral":
            _warn(f"the lateral film looks {view}")
    return given


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
