"""Which code, which data and which recipe made a checkpoint: stamped into every one."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from training.config import Recipe

ROOT = Path(__file__).resolve().parent.parent
PARENT = "parent.json"
"""In the directory of a run that goes on from a bundle: which one."""


def commit() -> str:
    """Return the git commit of the code, ``+dirty`` when files differ, ``unknown`` without git."""
    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+dirty" if changed else "")


def git(*arguments: str) -> str:
    """Run git in the project's root and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def parent(run_dir: Path) -> dict[str, Any] | None:
    """Return what identifies the bundle that a run goes on from, if it goes on from one."""
    path = run_dir / PARENT
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def stamp(
    recipe: Recipe, catalog_digest: str, bundle: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the provenance record of a run; ``bundle`` is the one that it goes on from."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "data_manifest": catalog_digest,
        "training_commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "parent": bundle,
    }
