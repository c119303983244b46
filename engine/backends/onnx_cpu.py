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

from engine.backends.base import Logits
from engine.bundle import Bundle, CacheShape
from engine.errors import BackendUnavailable, BundleIncompatible, GenerationFault
from engine.results import Codes, Image

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
    """One sequence: its cache tensors and how many entries are filled."""

    session: Any
    binding: Any
    cache: CacheShape
    tensors: list[Any] = field(default_factory=list)
    length: int = 0

    def prefill(self, token_ids: Sequence[int]) -> Logits:
        """Append a prompt; see `Slot.prefill`."""
        return self.run(token_ids)

    def step(self, token_id: int) -> Logits:
        """Append one token; see `Slot.step`."""
        return self.run([token_id])

    def rewind(self, length: int) -> None:
        """Forget tokens; what lies behind ``length`` is masked and will be written over."""
        self.length = min(self.length, length)

    def run(self, token_ids: Sequence[int]) -> Logits:
        """Feed tokens at the end of the sequence and return the last logits [V]."""
        count = len(token_ids)
        if self.length + count > self.cache.max_length:
            raise GenerationFault(
                f"the sequence is longer than {self.cache.max_length} tokens",
                hint="ask a shorter question",
            )
        positions = np.arange(self.length, self.length + count, dtype=np.int64)[None]
        feeds = {
            "input_ids": np.asarray([token_ids], dtype=np.int64),
            "position_ids": positions,
            "write_indices": np.asarray([self.length], dtype=np.int64),
            "logits_from": np.asarray([count - 1], dtype=np.int64),
        }
        for name, values in feeds.items():
            self.binding.bind_cpu_input(name, values)
        self.binding.bind_output("logits", "cpu")
        self.session.run_with_iobinding(self.binding)
        self.length += count
        logits: Logits = self.binding.get_outputs()[0].numpy()[0, -1]
        return logits


class OnnxCpuBackend:
    """The four graphs of a bundle as onnxruntime sessions."""

    name = NAME

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
        binding = self.language_model.io_binding()
        slot = OnnxSlot(self.language_model, binding, cache)
        binding.bind_output("logits", "cpu")
        shape = (1, cache.num_kv_heads, cache.max_length, cache.head_dim)
        for index in range(cache.num_layers):
            for kind in ("k", "v"):
                zeros = np.zeros(shape, dtype=np.float32)
                tensor = self.runtime.OrtValue.ortvalue_from_numpy(zeros)
                binding.bind_ortvalue_input(f"past_{kind}_{index}", tensor)
                binding.bind_ortvalue_output(f"present_{kind}_{index}", tensor)
                slot.tensors.append(tensor)
        return slot

    def encode(self, image: Image) -> Codes:
        """Film [1, 256, 256] -> codes [256]."""
        (codes,) = self.encoder.run(None, {"image": image[None]})
        found: Codes = codes[0].astype(np.int64)
        return found

    def decode(self, codes: Codes) -> Image:
        """Codes [256] -> film [1, 256, 256]."""
        (image,) = self.decoder.run(None, {"codes": codes[None]})
        drawn: Image = image[0]
        return drawn

    def classify(self, image: Image) -> dict[str, NDArray[np.float32]]:
        """Film -> the classifier's answers for it."""
        names = [output.name.removeprefix("p_") for output in self.classifier.get_outputs()]
        values = self.classifier.run(None, {"image": image[None]})
        return {name: np.asarray(value[0]) for name, value in zip(names, values, strict=True)}
