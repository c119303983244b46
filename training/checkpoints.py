"""Checkpoints that survive ``kill -9``: written aside, synced, renamed; a torn one is never seen.

`engine.nets.checkpoints` describes the layout and reads it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.nets.checkpoints import PARTIAL, TENSORS, VALUES, complete


def sync(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def step_dir(run_dir: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return run_dir / "checkpoints" / f"step-{step:08d}"


def save(
    run_dir: Path,
    step: int,
    parts: dict[str, dict[str, Tensor]],
    values: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write a checkpoint atomically and delete all but the newest ``keep``."""
    target = step_dir(run_dir, step)
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    flat = {
        f"{part}/{key}": tensor.detach().cpu().contiguous().clone()
        for part, tensors in parts.items()
        for key, tensor in tensors.items()
    }
    save_file(flat, partial / TENSORS)
    (partial / VALUES).write_text(json.dumps({**values, "step": step}, indent=1))
    for name in (TENSORS, VALUES):
        sync(partial / name)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync(target.parent)
    for old in complete(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def random_state() -> dict[str, Tensor]:
    """Return torch's generator states as a part to save."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(part: dict[str, Tensor]) -> None:
    """Put torch's generators back to where `random_state` found them."""
    torch.set_rng_state(part["torch"])
    if "cuda" in part and torch.cuda.is_available():
        torch.cuda.set_rng_state(part["cuda"])


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's per-parameter state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entries in state.items()
        for name, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, part: dict[str, Tensor]) -> None:
    """Load what `flatten_optimizer` returned, keeping the optimizer's own settings."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in part.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    settings = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": settings})
