"""onnxruntime on the CPU: runs wherever its wheel does.

The cache is bound as input and output to the same memory, so a step writes one entry in place and
copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.backends.base import Feed, FixedSlot, Logits, refuse_overflow
from engine.backends.onnx_films import OnnxFilms
from engine.bundle import Bundle

NAME = "onnx_cpu"


@dataclass(eq=False)
class OnnxSlot(FixedSlot):
    """One sequence: its cache tensors, bound to the graph."""

    binding: Any
    tensors: list[Any] = field(default_factory=list)


class OnnxCpuBackend(OnnxFilms):
    """The four graphs of a bundle as onnxruntime sessions."""

    name = NAME
    max_batch = 1
    device = "cpu"
    """Where the caches lie."""

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        super().__init__(bundle, num_threads)
        self.language_model = self.session("language_model")

    def open_slot(self) -> OnnxSlot:
        """Allocate an empty cache and bind it to itself: the graph updates it in place."""
        cache = self.bundle.cache
        slot = OnnxSlot(self.language_model.io_binding(), max_length=cache.max_length)
        slot.binding.bind_output("logits", "cpu")  # the first of the outputs
        shape = (1, cache.num_kv_heads, cache.max_length, cache.head_dim)
        for index in range(cache.num_layers):
            for kind in ("k", "v"):
                zeros = np.zeros(shape, dtype=np.float32)
                tensor = self.runtime.OrtValue.ortvalue_from_numpy(zeros, self.device)
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
