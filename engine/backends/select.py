"""Choose a backend: the one asked for, or the best that runs here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from engine.backends.base import Backend
from engine.backends.native import NativeBackend
from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.bundle import Bundle
from engine.errors import BackendUnavailable

log = logging.getLogger(__name__)

Open = Callable[[Bundle, int], Backend]
BACKENDS: Mapping[str, Open] = {"native": NativeBackend, "onnx_cpu": OnnxCpuBackend}
"""By preference: the first that opens serves ``auto``."""


def open_backend(bundle: Bundle, name: str = "auto", num_threads: int = 0) -> Backend:
    """Open the named backend, or for ``auto`` the first that works.

    Raises
    ------
    BackendUnavailable
        The name is unknown or no backend opens.
    """
    if name != "auto" and name not in BACKENDS:
        known = ", ".join(("auto", *BACKENDS))
        raise BackendUnavailable(f"unknown backend {name}", hint=f"one of {known}")
    wanted = BACKENDS if name == "auto" else {name: BACKENDS[name]}
    reasons = []
    for key, kind in wanted.items():
        try:
            return kind(bundle, num_threads)
        except BackendUnavailable as fault:
            reasons.append(f"{key}: {fault}")
            log.warning("backend skipped: %s", reasons[-1])
    raise BackendUnavailable("no backend runs here: " + "; ".join(reasons))
