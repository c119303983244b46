"""Files of `torch.save` read without running anything that they name.

Two containers are read: a plain state dict, and a whole pickled module, which is how
TorchXRayVision ships its DenseNets. Unpickling a module runs whatever it names, so nothing here
does: every class that is no tensor becomes an inert record, and the tensors are collected from it.
"""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor
from torch.serialization import SourceChangeWarning

from engine.errors import CheckpointError

TENSOR_PARTS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


class Record:
    """Stands for any pickled object: holds its fields and entries, does nothing."""

    dump_patches = False

    def __init__(self, *arguments: object) -> None:
        """Take and drop constructor arguments."""

    def __setstate__(self, state: object) -> None:
        """Keep fields by name; a state of another shape belongs to no module."""
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: object, value: object) -> None:
        """Drop an entry of a mapping."""

    def append(self, value: object) -> None:
        """Drop an entry of a list."""


class InertUnpickler(pickle.Unpickler):
    """Rebuilds tensors and containers; everything else becomes a `Record`."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the named class if it only builds tensors."""
        is_storage = module == "torch" and name.endswith("Storage")
        if is_storage or (module, name) in TENSOR_PARTS:
            return super().find_class(module, name)
        return Record


def inert_load(stream: IO[bytes], **options: Any) -> Any:
    """Load one pickle; torch reads the head of its old container with this."""
    return InertUnpickler(stream, **options).load()


def unpickled(path: Path) -> Any:
    """Return what a file of `torch.save` holds, of either container, nothing executed.

    Raises
    ------
    CheckpointError
        The file is not of that kind.
    """
    inert = SimpleNamespace(Unpickler=InertUnpickler, load=inert_load, __name__="inert")
    with warnings.catch_warnings():
        # the old container keeps the source of its classes, which never is that of a record
        warnings.simplefilter("ignore", SourceChangeWarning)
        try:
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=inert)
        except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError) as fault:
            raise CheckpointError(f"{path.name} is no file of torch.save") from fault


def tensors_of(record: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a pickled module with their dotted names."""
    for group in ("_parameters", "_buffers"):
        for name, tensor in getattr(record, group, {}).items():
            if isinstance(tensor, Tensor):
                yield prefix + name, tensor.detach()
    for name, child in getattr(record, "_modules", {}).items():
        yield from tensors_of(child, f"{prefix}{name}.")


def tensors_in(found: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, of a checkpoint around one, or of a pickled module."""
    if isinstance(found, dict):
        found = found.get("state_dict", found)
    if isinstance(found, dict):
        return OrderedDict((k, v) for k, v in found.items() if isinstance(v, Tensor))
    return OrderedDict(tensors_of(found))
