"""What a run shows while it goes: a bar for people, JSON lines and TensorBoard for plots.

A terminal gets a rich bar with the newest figures; anything else gets one plain line now and then,
so a log file stays readable.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

PLAIN_EVERY_S = 15.0


def columns() -> tuple[ProgressColumn, ...]:
    """Return the columns of every bar."""
    return (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )


def figures_line(figures: dict[str, float]) -> str:
    """Return figures as one short line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


class RunLog:
    """The log of one stage of a run: bar, ``metrics.jsonl`` and TensorBoard events.

    Lines of steps after ``first_step`` left by a killed run are cut, so a resumed run's log reads
    like an uninterrupted one.
    """

    def __init__(self, run_dir: Path, stage: str, num_steps: int, first_step: int = 0) -> None:
        self.stage, self.num_steps = stage, num_steps
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / "metrics.jsonl"
        keep_lines_before(path, first_step)
        self.lines: TextIO = path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(run_dir / "tb"), purge_step=first_step)
        console = Console(stderr=True)
        self.bar = Progress(*columns(), console=console, disable=not console.is_terminal)
        self.task: TaskID = self.bar.add_task(
            stage, total=num_steps, completed=first_step, figures=""
        )
        self.last_plain = 0.0

    def __enter__(self) -> Self:
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar and the files."""
        self.bar.stop()
        self.lines.close()
        self.board.close()

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a finished step (counted from 0)."""
        self.lines.write(json.dumps({"stage": self.stage, "step": step, **figures}) + "\n")
        self.lines.flush()
        for name, value in figures.items():
            self.board.add_scalar(f"{self.stage}/{name}", value, step)
        self.bar.update(self.task, completed=step + 1, figures=figures_line(figures))
        if self.bar.disable and time.monotonic() - self.last_plain > PLAIN_EVERY_S:
            self.last_plain = time.monotonic()
            line = f"{self.stage} {step + 1}/{self.num_steps}  {figures_line(figures)}"
            sys.stderr.write(line + "\n")


class Silence(AbstractContextManager["Silence"]):
    """The log of a process that leaves logging to another."""

    def __exit__(self, *fault: object) -> None:
        """Close nothing."""

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Record nothing."""


def keep_lines_before(path: Path, first_step: int) -> None:
    """Drop the lines of a JSONL log whose step was not kept by a checkpoint."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first_step]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


@contextmanager
def bar(description: str, total: int) -> Iterator[Progress]:
    """Show one bar for work without figures; advance it with ``progress.advance(0)``."""
    console = Console(stderr=True)
    with Progress(*columns(), console=console, disable=not console.is_terminal) as progress:
        progress.add_task(description, total=total, figures="")
        yield progress
