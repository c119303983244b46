"""TensorRT plans: which of its two flavours is here, and what a plan was made from.

The full TensorRT (data centre) and TensorRT-RTX (workstations) have one interface under two names,
and each comes as a package or as its bare bindings. A plan belongs to one flavour, version, bundle
and precision; the manifest beside it says to which.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from engine.bundle import Bundle
from engine.errors import BackendUnavailable

FLAVOURS = ("tensorrt", "tensorrt_rtx")
"""By preference."""
ROLES = ("language_model", "encoder", "decoder")
"""The graphs of a bundle that are made into plans."""
MANIFEST = "plans.json"
JIT_CACHE = "jit.cache"
PREFILL, DECODE = 0, 1
"""The profiles of the language model: one long row, and many rows of few tokens."""
FILMS_AT_ONCE = 16
HOW = "build plans with `cxr-export tensorrt --bundle DIR`"


@dataclass(frozen=True)
class Flavour:
    """A TensorRT that can be imported."""

    name: str
    module: Any

    @property
    def version(self) -> str:
        """Its version, to which plans are bound."""
        return str(self.module.__version__)


def load_flavour(names: tuple[str, ...] = FLAVOURS) -> Flavour:
    """Import the first flavour that is there, as a package or as bindings alone.

    Raises
    ------
    BackendUnavailable
        None is.
    """
    reasons = []
    for name in names:
        for module in (name, f"{name}_bindings"):
            try:
                return Flavour(name, importlib.import_module(module))
            except ModuleNotFoundError:
                continue
            except (ImportError, OSError) as fault:
                reasons.append(f"{module}: {fault}")
    found = "; ".join(reasons) or "none of " + ", ".join(names) + " is installed"
    raise BackendUnavailable(
        f"no TensorRT: {found}", hint="docs/how-to/gpu.md says how to install it"
    )


@dataclass(frozen=True)
class Manifest:
    """What plans were made from, and their own hashes.

    ``capabilities``: the GPUs that they run on, such as SM89; empty: all that the flavour knows.
    ``profiles``: by role and profile the least, best and largest shape of each input.
    ``is_stripped``: the weights are not in the plans and come from the bundle. ``onnx`` and
    ``plans``: sha256 by role.
    """

    flavour: str
    version: str
    bundle: str
    precision: str
    capabilities: tuple[str, ...]
    is_stripped: bool
    profiles: dict[str, Any]
    onnx: dict[str, str]
    plans: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the manifest beside its plans."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the manifest of a folder; None if there is none, or none of this form."""
        try:
            values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            return cls(**{**values, "capabilities": tuple(values["capabilities"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def folder_of(bundle: Bundle, flavour: str) -> Path:
    """Return where the plans of a bundle lie."""
    return bundle.directory / "plans" / flavour


def plan_path(folder: Path, role: str) -> Path:
    """Return where the plan of one graph lies."""
    return folder / f"{role}.plan"


def unfit(manifest: Manifest | None, bundle: Bundle, flavour: Flavour) -> str:
    """Return why plans do not serve a bundle with a flavour; empty where they do."""
    if manifest is None:
        return f"there are no {flavour.name} plans of this bundle"
    if manifest.bundle != bundle.digest:
        return f"the plans were built from another bundle ({manifest.bundle[:12]})"
    if manifest.version != flavour.version:
        return (
            f"the plans were built by {flavour.name} {manifest.version}, this is {flavour.version}"
        )
    return ""
