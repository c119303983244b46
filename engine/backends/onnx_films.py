"""The networks that look at films, as onnxruntime sessions: every backend has these four answers.

Telemetry is switched off before onnxruntime is imported: its wheels report by default, and the
variable is read only once per process.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import CodeRows, Images
from engine.bundle import Bundle
from engine.errors import BackendUnavailable, BundleIncompatible
from engine.results import Image

CPU = ("CPUExecutionProvider",)
CUDA = ("CUDAExecutionProvider", *CPU)
QUANTISED_ACCUMULATION = ("session.qdq_matmulnbits_accuracy_level", "4")


def import_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as fault:
        raise BackendUnavailable(
            "onnxruntime is not installed", hint="pip install cxr-node"
        ) from fault
    return onnxruntime


class OnnxFilms:
    """Encoder, decoder and classifier of a bundle, and how any of its graphs is opened."""

    providers: tuple[str, ...] = CPU
    """What onnxruntime computes with, by preference."""
    film_roles: tuple[str, ...] = ("encoder", "decoder", "classifier")
    """The graphs that onnxruntime runs."""

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        self.runtime = import_onnxruntime()
        self.bundle, self.num_threads = bundle, num_threads
        self.films = {role: self.session(role) for role in self.film_roles}

    @property
    def max_length(self) -> int:
        """Tokens that a slot can hold."""
        return self.bundle.cache.max_length

    def session(self, role: str) -> Any:
        """Open one graph of the bundle."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.log_severity_level = 3
        options.add_session_config_entry(*QUANTISED_ACCUMULATION)
        path = str(self.bundle.path(role))
        state = self.runtime.capi.onnxruntime_pybind11_state
        faults = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
        try:
            return self.runtime.InferenceSession(path, options, providers=list(self.providers))
        except faults as fault:
            raise BundleIncompatible(f"onnxruntime cannot run {role} of the bundle") from fault

    def encode(self, images: Images) -> CodeRows:
        """Films [N, 1, 256, 256] -> codes [N, 256]."""
        (codes,) = self.films["encoder"].run(None, {"image": images})
        found: CodeRows = codes.astype(np.int64)
        return found

    def decode(self, codes: CodeRows) -> Images:
        """Codes [N, 256] -> films [N, 1, 256, 256]."""
        (drawn,) = self.films["decoder"].run(None, {"codes": codes})
        images: Images = drawn
        return images

    def classify(self, image: Image) -> dict[str, NDArray[np.float32]]:
        """Film -> the classifier's answers for it."""
        classifier = self.films["classifier"]
        names = [output.name.removeprefix("p_") for output in classifier.get_outputs()]
        values = classifier.run(None, {"image": image[None]})
        return {name: np.asarray(value[0]) for name, value in zip(names, values, strict=True)}
