"""Reward against length while policies are tuned: a picture of who learns to be long."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from training.align.experiment import VERBOSITY, Experiment
from training.evaluate import finding_errors
from training.evaluate.plots import DPI, WIDTH_IN, save

Journey = list[dict[str, float]]
HEIGHT_IN = 3.6
NUM_COLOURS, LINES, MARKERS = 10, ("-", "--", ":"), "osv^"


def read_journey(folder: Path) -> Journey:
    """Return what was seen of one policy, the start first; empty where nobody looked."""
    start, log = folder / "start.json", folder / "metrics.jsonl"
    if not (start.is_file() and log.is_file()):
        return []
    rows = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [json.loads(start.read_text()), *(row for row in rows if "verbosity" in row)]


def journeys(folder: Path, path: Path) -> None:
    """Draw score and length-controlled score against verbosity, one line an alignment.

    Nothing is drawn where nobody looked.
    """
    found = {one.name: read_journey(one) for one in sorted(folder.iterdir()) if one.is_dir()}
    found = {name: journey for name, journey in found.items() if journey}
    if not found:
        return
    canvas = Canvas(figsize=(1.5 * WIDTH_IN, HEIGHT_IN), dpi=DPI)
    panels = canvas.subplots(1, 2)
    for axes, score in zip(panels, ("judge", "judge_lc"), strict=True):
        for number, (name, journey) in enumerate(found.items()):
            xs, ys = ([row[key] for row in journey] for key in ("verbosity", score))
            style = {"marker": "o", "markersize": 3, "linewidth": 1}
            axes.plot(xs, ys, LINES[number // NUM_COLOURS % len(LINES)], label=name, **style)
        axes.axvline(1.0, color="grey", linewidth=1, linestyle="--")
        axes.set_xlabel("words, relative to the start")
        axes.set_ylabel({"judge": "score", "judge_lc": "length-controlled score"}[score])
    panels[1].legend(fontsize=6, ncols=2)
    save(canvas, path)


def draw_found(found: Experiment, path: Path) -> None:
    """Draw every bundle's score against how long its reports are."""
    canvas = Canvas(figsize=(1.5 * WIDTH_IN, HEIGHT_IN), dpi=DPI)
    names = (finding_errors.NAME, finding_errors.LENGTH_CONTROLLED)
    for axes, score in zip(canvas.subplots(1, 2), names, strict=True):
        for number, (name, figures) in enumerate(found.figures.items()):
            place = figures[VERBOSITY].value, figures[score].value
            marker = MARKERS[number // NUM_COLOURS % len(MARKERS)]
            size = 9 if name == found.chosen else 5
            axes.plot(*place, marker, markersize=size, label=name, linestyle="none")
        axes.set_xlabel("words, relative to the start")
        axes.set_ylabel(score)
    axes.legend(fontsize=6, ncols=2)
    save(canvas, path)
