"""Choose a backend: the one asked for, or the best that runs here.

A backend's module is imported when it is opened and not before: torch alone takes seconds, and a
hospital's PC has none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from engine.backends.base import Backend
from engine.backends.driver import lack_of_gpu
from engine.backends.onnx_cuda import lack_of_cuda
from engine.backends.onnx_films import import_onnxruntime
from engine.backends.tensorrt_plan import FLAVOURS, Manifest, folder_of
from engine.bundle import Bundle
from engine.errors import BackendUnavailable
from engine.native.library import open_library

log = logging.getLogger(__name__)

Lack = Callable[[Bundle], str]
"""Returns why a backend cannot run a bundle here, empty where it may."""


def _no_gpu(bundle: Bundle) -> str:
    return lack_of_gpu()


def _no_plans(bundle: Bundle) -> str:
    """Look for a TensorRT and for plans of this bundle that it might load."""
    here = [name for name in FLAVOURS if any(find_spec(end) for end in (name, f"{name}_bindings"))]
    if not here:
        return "TensorRT is not installed"
    found = (Manifest.read(folder_of(bundle, name)) for name in here)
    if any(manifest is not None and manifest.bundle == bundle.digest for manifest in found):
        return ""
    return "there are no TensorRT plans of this bundle; `cxr-export tensorrt` builds them"


def _no_cuda_torch(bundle: Bundle) -> str:
    if find_spec("torch") is None:
        return "torch is not installed"
    is_usable: bool = import_module("torch").cuda.is_available()
    return "" if is_usable else "torch sees no GPU: is it the build for the CPU"


def _no_cuda_provider(bundle: Bundle) -> str:
    return lack_of_cuda(import_onnxruntime())


def _no_kernels(bundle: Bundle) -> str:
    try:
        open_library()
    except BackendUnavailable as fault:
        return str(fault)
    return ""


@dataclass(frozen=True)
class Candidate:
    """Where a backend is found, and what it may lack, the cheapest question first."""

    module: str
    kind: str
    lacks: tuple[Lack, ...] = ()

    @property
    def needs_gpu(self) -> bool:
        """Tell whether it is made for a GPU."""
        return _no_gpu in self.lacks


BACKENDS: Mapping[str, Candidate] = {
    "tensorrt": Candidate("tensorrt", "TensorrtBackend", (_no_gpu, _no_cuda_torch, _no_plans)),
    "torch": Candidate("torch", "TorchBackend", (_no_gpu, _no_cuda_torch)),
    "onnx_cuda": Candidate("onnx_cuda", "OnnxCudaBackend", (_no_gpu, _no_cuda_provider)),
    "native": Candidate("native", "NativeBackend", (_no_kernels,)),
    "onnx_cpu": Candidate("onnx_cpu", "OnnxCpuBackend"),
}
"""By preference: the first that lacks nothing and opens serves ``auto``."""


@dataclass(frozen=True)
class Survey:
    """Whether ``auto`` would try a backend, and why not."""

    name: str
    is_available: bool
    reason: str = ""


def survey(bundle: Bundle) -> Iterator[Survey]:
    """Yield every backend by preference; nothing is loaded."""
    for name, candidate in BACKENDS.items():
        reason = next(filter(None, (lack(bundle) for lack in candidate.lacks)), "")
        yield Survey(name, not reason, reason)


def open_backend(bundle: Bundle, name: str = "auto", num_threads: int = 0) -> Backend:
    """Open the named backend, or for ``auto`` the first that works.

    Raises
    ------
    BackendUnavailable
        The name is unknown or no backend opens.
    """
    if name == "auto":
        return _open_best(bundle, num_threads)
    if name not in BACKENDS:
        known = ", ".join(("auto", *BACKENDS))
        raise BackendUnavailable(f"unknown backend {name}", hint=f"one of {known}")
    try:
        return _open(name, bundle, num_threads)
    except BackendUnavailable as fault:
        raise BackendUnavailable(f"backend {name}: {fault}", hint=fault.hint) from fault


def _open_best(bundle: Bundle, num_threads: int) -> Backend:
    """Open the first that works, and say of every other why it was skipped.

    That a PC without a GPU skips the backends of GPUs is no news; that one with a GPU does is.
    """
    reasons = []
    for row in survey(bundle):
        reason, level = row.reason, logging.INFO
        if row.is_available:
            try:
                return _open(row.name, bundle, num_threads)
            except BackendUnavailable as fault:
                reason, level = str(fault), logging.WARNING
        elif BACKENDS[row.name].needs_gpu and not lack_of_gpu():
            level = logging.WARNING
        reasons.append(f"{row.name}: {reason}")
        log.log(level, "backend skipped: %s", reasons[-1])
    raise BackendUnavailable("no backend runs here: " + "; ".join(reasons))


def _open(name: str, bundle: Bundle, num_threads: int) -> Backend:
    """Import a backend and open it."""
    candidate = BACKENDS[name]
    try:
        module = import_module(f"engine.backends.{candidate.module}")
    except ImportError as fault:
        raise BackendUnavailable(
            f"it needs {fault.name or fault}", hint="docs/how-to/gpu.md says how to install it"
        ) from fault
    made: Backend = getattr(module, candidate.kind)(bundle, num_threads)
    return made
