"""Reading checkpoints: what training writes and export takes up.

A run directory holds ``STAGE/checkpoints/step-00000123/`` with ``state.safetensors`` (every
tensor, keys ``part/name``) and ``state.json`` (everything else, the provenance stamp included). No
pickle.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import CheckpointError

TENSORS = "state.safetensors"
VALUES = "state.json"
PARTIAL = ".partial"


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint, read back."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose key starts with ``name/``, the prefix removed."""
        prefix = f"{name}/"
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}


def complete(run_dir: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    found = (run_dir / "checkpoints").glob("step-*")
    return sorted(path for path in found if path.suffix != PARTIAL and path.is_dir())


def read(path: Path) -> Checkpoint:
    """Read one checkpoint directory.

    Raises
    ------
    CheckpointError
        The directory does not hold a complete checkpoint.
    """
    if not (path / VALUES).is_file() or not (path / TENSORS).is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    values = json.loads((path / VALUES).read_text())
    return Checkpoint(int(values["step"]), load_file(path / TENSORS), values)


def latest(run_dir: Path) -> Checkpoint | None:
    """Read the newest complete checkpoint of a run, or return ``None``."""
    found = complete(run_dir)
    return read(found[-1]) if found else None


def newest(run_dir: Path, stage: str) -> Checkpoint:
    """Read the newest complete checkpoint of a stage.

    Raises
    ------
    CheckpointError
        The stage has none.
    """
    found = latest(run_dir / stage)
    if found is None:
        raise CheckpointError(
            f"no {stage} checkpoint under {run_dir}", hint=f"run `cxr-train {stage}` first"
        )
    return found


def take_up(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights that others published; every key and every shape must agree.

    Raises
    ------
    CheckpointError
        They are the weights of another network.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as fault:
        first = str(fault).partition("\n")[2].partition("\n")[0].strip()
        raise CheckpointError(
            f"these weights do not fit {type(module).__name__}: {first}"
        ) from fault
