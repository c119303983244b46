"""onnxruntime on the CPU: the embedded default.

The cache is bound as input and output to the same memory, so a step writes one entry in place and
copies nothing. Telemetry is switched off before onnxruntime is imported: its wheels report by
default, and the variable is read only once per process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import CodeRows, Feed, Images, Logits, refuse_overflow
from engine.bundle import Bundle
from engine.errors import BackendUnavailable, BundleIncompatible
from engine.results import Image

NAME = "onnx_cpu"
PROVIDERS = ["CPUExecutionProvider"]
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


@dataclass
class OnnxSlot:
    """One sequence: its cache tensors, bound to the graph, and how many entries are filled."""

    binding: Any
    max_length: int
    tensors: list[Any] = field(default_factory=list)
    length: int = 0

    @property
    def room(self) -> int:
        """Tokens that it can still take."""
        return self.max_length - self.length

    def rewind(self, length: int) -> None:
        """Forget tokens; what lies behind ``length`` is masked and will be written over."""
        self.length = min(self.length, length)


class OnnxCpuBackend:
    """The four graphs of a bundle as onnxruntime sessions."""

    name = NAME
    max_batch = 1

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        self.runtime = import_onnxruntime()
        self.bundle, self.num_threads = bundle, num_threads
        self.encoder = self.session("encoder")
        self.decoder = self.session("decoder")
        self.classifier = self.session("classifier")
        self.language_model = self.session("language_model")

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
            return self.runtime.InferenceSession(path, options, providers=PROVIDERS)
        except faults as fault:
            raise BundleIncompatible(f"onnxruntime cannot run {role} of the bundle") from fault

    def open_slot(self) -> OnnxSlot:
        """Allocate an empty cache and bind it to itself: the graph updates it in place."""
        cache = self.bundle.cache
        slot = OnnxSlot(self.language_model.io_binding(), cache.max_length)
        slot.binding.bind_output("logits", "cpu")  # the first of the outputs
        shape = (1, cache.num_kv_heads, cache.max_length, cache.head_dim)
        for index in range(cache.num_layers):
            for kind in ("k", "v"):
                zeros = np.zeros(shape, dtype=np.float32)
                tensor = self.runtime.OrtValue.ortvalue_from_numpy(zeros)
                slot.binding.bind_ortvalue_input(f"past_{kind}_{index}", tensor)
                slot.binding.bind_ortvalue_output(f"present_{kind}_{index}", tensor)
                slot.tensors.append(tensor)
        return slot

    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens, one sequence after the other; see `Backend.forward`."""
        refuse_overflow(feeds)
        return [self.run(feed) for feed in feeds]

    def run(self, feed: Feed) -> Logits:
        """Append tokens to one sequence; return the logits of the wanted rows."""
        slot: Any = feed.slot
        count = len(feed.token_ids)
        inputs = {
            "input_ids": np.asarray([feed.token_ids], dtype=np.int64),
            "position_ids": np.arange(slot.length, slot.length + count, dtype=np.int64)[None],
            "write_indices": np.asarray([slot.length], dtype=np.int64),
            "logits_from": np.asarray([count - max(1, feed.num_wanted)], dtype=np.int64),
        }
        for name, values in inputs.items():
            slot.binding.bind_cpu_input(name, values)
        slot.binding.bind_output("logits", "cpu")
        self.language_model.run_with_iobinding(slot.binding)
        slot.length += count
        logits: Logits = slot.binding.get_outputs()[0].numpy()[0]
        return logits[:, feed.rows.start : feed.rows.stop]

    def encode(self, images: Images) -> CodeRows:
        """Films [N, 1, 256, 256] -> codes [N, 256]."""
        (codes,) = self.encoder.run(None, {"image": images})
        found: CodeRows = codes.astype(np.int64)
        return found

    def decode(self, codes: CodeRows) -> Images:
        """Codes [N, 256] -> films [N, 1, 256, 256]."""
        (drawn,) = self.decoder.run(None, {"codes": codes})
        images: Images = drawn
        return images

    def classify(self, image: Image) -> dict[str, NDArray[np.float32]]:
        """Film -> the classifier's answers for it."""
        names = [output.name.removeprefix("p_") for output in self.classifier.get_outputs()]
        values = self.classifier.run(None, {"image": image[None]})
        return {name: np.asarray(value[0]) for name, value in zip(names, values, strict=True)}
