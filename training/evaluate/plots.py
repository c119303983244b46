"""Pictures of figures, for people who would rather look: PNG, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from training.calibration import Reliability
from training.evaluate.bootstrap import Figure

mpl.rcParams["font.size"] = 9
WIDTH_IN, BAR_IN, DPI = 6.5, 0.32, 130


def save(canvas: Canvas, path: Path) -> None:
    """Write a drawn figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.tight_layout()
    FigureCanvasAgg(canvas).print_png(str(path))


def intervals(found: Mapping[str, Figure], label: str, path: Path) -> None:
    """Draw figures with their 95 % intervals as one line each."""
    shown = list(found.items())[::-1]
    canvas = Canvas(figsize=(WIDTH_IN, 0.9 + BAR_IN * len(shown)), dpi=DPI)
    axes = canvas.subplots()
    for place, (_, figure) in enumerate(shown):
        axes.plot([figure.low, figure.high], [place, place], color="tab:blue", linewidth=2)
        axes.plot(figure.value, place, "o", color="tab:blue", markersize=4)
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_xlabel(f"{label}, 95 % interval over patients")
    axes.grid(axis="x", alpha=0.3)
    save(canvas, path)


def reliability(bins: Mapping[str, Sequence[Reliability]], path: Path) -> None:
    """Draw stated against observed probability, one line a set of bins."""
    canvas = Canvas(figsize=(4.2, 4.2), dpi=DPI)
    axes = canvas.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    for name, found in bins.items():
        axes.plot([b.stated for b in found], [b.observed for b in found], "o-", label=name)
    axes.set_xlabel("probability stated")
    axes.set_ylabel("share that held")
    axes.legend()
    save(canvas, path)
