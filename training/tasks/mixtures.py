"""Mixtures of tasks: which tasks, in which shares, from which collections beside the films."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError, model_validator

from engine.tasks.registry import TASKS
from training.config import Section, faults_of, shipped
from training.errors import TaskTableError
from training.tasks.builders import BUILDERS
from training.tasks.sources import SOURCES

MIXTURES = Path(__file__).parent / "mixtures"


class SourceSection(Section):
    """A collection in a published format; ``licence`` is what its owners allow."""

    path: Path
    licence: str = ""


class TaskMixture(Section):
    """Weights by task, rows of a task at most (0: all), and published formats by name."""

    name: str
    tasks: dict[str, float] = Field(min_length=1)
    limit: int = Field(0, ge=0)
    sources: dict[str, SourceSection] = Field(default_factory=dict)

    @model_validator(mode="after")
    def tasks_can_be_made(self) -> Self:
        """Refuse unknown tasks and formats, weights that are none, and tasks without a teacher."""
        unknown = [name for name in self.tasks if name not in TASKS]
        unknown += [name for name in self.sources if name not in SOURCES]
        if unknown:
            known = f"tasks: {', '.join(TASKS)}; sources: {', '.join(SOURCES)}"
            raise ValueError(f"unknown: {', '.join(unknown)} ({known})")
        if any(weight <= 0 for weight in self.tasks.values()):
            raise ValueError("a weight must be above 0; leave a task out that is not wanted")
        taught = set(BUILDERS).union(*(SOURCES[name].tasks for name in self.sources))
        untaught = [name for name in self.tasks if name not in taught]
        if untaught:
            raise ValueError(f"no films with reports teach {', '.join(untaught)}: name a source")
        return self


def load(name: str) -> TaskMixture:
    """Read a mixture by name or path.

    Raises
    ------
    TaskTableError
        It does not exist or does not validate; every fault is listed.
    """
    path = shipped(MIXTURES, "mixture", name, TaskTableError)
    try:
        return TaskMixture.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as fault:
        raise TaskTableError(f"mixture is not valid: {faults_of(fault, name)}") from fault
