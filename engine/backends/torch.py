"""torch: the language model of a bundle in bfloat16 on a GPU, steps replayed as CUDA graphs.

A step of a small model is hundreds of short kernels; recorded once for a number of rows, they are
started by one call. Prompts are long enough to run without. On a CPU the same code computes in
float32, which serves to test it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.backends.base import Logits
from engine.backends.device import Call, DeviceBackend
from engine.backends.initializers import read_graph
from engine.backends.onnx_films import CPU, CUDA, import_onnxruntime
from engine.backends.rows import BUCKETS, MAX_WIDTH
from engine.backends.torch_program import WANTED_FROM, Program, Value, program_of
from engine.bundle import Bundle, CacheShape

NAME = "torch"
MEMORY_SHARE = 0.7
"""Of the GPU memory that is free once the weights are there: at most so much becomes cache."""
MAX_ROWS = 64

Key = tuple[int, int, int, range | None]
"""What makes two steps one recording: rows, tokens a row, first wanted position, token ids."""


class Recording:
    """A CUDA graph of one step: its inputs are filled anew, then it is replayed.

    Parameters
    ----------
    launch
        Computes from ids and starts [B, S + 1] on the device; must not wait for the device.
    """

    WARM_UPS = 3

    def __init__(self, launch: Callable[[Tensor], Tensor | None], fed: Tensor, pool: Any) -> None:
        self.fed = fed.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(self.WARM_UPS):
                launch(self.fed)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.logits = launch(self.fed)

    def replay(self, fed: Tensor) -> Tensor | None:
        """Run the step on other inputs; what it returns holds until the next replay."""
        self.fed.copy_(fed, non_blocking=True)
        self.graph.replay()
        return self.logits


class TorchBackend(DeviceBackend):
    """The language model in torch; films by onnxruntime, on the GPU where it can."""

    name = NAME

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        if num_threads:
            torch.set_num_threads(num_threads)
        self.is_cuda = torch.cuda.is_available()
        self.device = "cuda" if self.is_cuda else "cpu"
        self.dtype = _precision(self.is_cuda)
        self.buckets = BUCKETS if self.is_cuda else ()
        self.providers = film_providers(self.is_cuda)
        graph = read_graph(bundle.path("language_model"))
        self.program: Program = program_of(graph, self.device, self.dtype)
        self.caches = empty_caches(bundle.cache, self.device, self.dtype)
        self.recordings: dict[Key, Recording] = {}
        self.pool = torch.cuda.graph_pool_handle() if self.is_cuda else None
        super().__init__(bundle, num_threads)

    def row_limit(self) -> int:
        """Return how many sequences the GPU's memory can hold, beside everything else there."""
        if not self.is_cuda:
            return MAX_ROWS
        free, _ = torch.cuda.mem_get_info()
        one = sum(cache[:1].nbytes for cache in self.caches.values())
        return max(1, min(MAX_ROWS, int(free * MEMORY_SHARE) // one))

    def reserve(self, num_rows: int) -> None:
        """Give the caches at least so many rows; recordings of the smaller ones are dropped."""
        held = len(self.caches["past_k_0"])
        if num_rows <= held:
            return
        grown = 1 << (num_rows - 1).bit_length()
        self.recordings.clear()
        for name, cache in self.caches.items():
            more = cache.new_zeros((grown - held, *cache.shape[1:]))
            self.caches[name] = torch.cat((cache, more))

    @torch.inference_mode()
    def run(self, call: Call) -> Logits | None:
        """Append tokens; return the logits [B, T, len(head)]."""
        fed = torch.from_numpy(np.concatenate((call.ids, call.starts[:, None]), 1))
        if self._is_recorded(call):
            logits = self._recording(call, fed).replay(fed.pin_memory())
        else:
            logits = self._launch(call, fed.to(self.device))
        return None if logits is None else logits.cpu().numpy()

    def _is_recorded(self, call: Call) -> bool:
        """Tell whether a call is one of those that come again and again."""
        is_short = call.ids.shape[1] <= MAX_WIDTH
        return is_short and call.rows.start == 0 and call.rows.stop in self.buckets

    def _recording(self, call: Call, fed: Tensor) -> Recording:
        """Return the recording of a call, made when it comes first."""
        key = (call.rows.stop, call.ids.shape[1], call.wanted_from, call.head)
        if key not in self.recordings:
            launch = partial(self._launch, call)
            self.recordings[key] = Recording(launch, fed.to(self.device), self.pool)
        return self.recordings[key]

    def _launch(self, call: Call, fed: Tensor) -> Tensor | None:
        """Start the computation of ids and starts [B, S + 1] on the device."""
        ids, starts = fed[:, :-1], fed[:, -1]
        steps = torch.arange(ids.shape[1], device=self.device)
        inputs: dict[str, Value] = {
            "input_ids": ids,
            "position_ids": starts[:, None] + steps,
            "write_indices": starts,
            WANTED_FROM: call.wanted_from,
        }
        for name, cache in self.caches.items():
            inputs[name] = cache[call.rows.start : call.rows.stop]
        return self.program.run(inputs, call.head)


def empty_caches(cache: CacheShape, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the caches [1, H, M, D] of every layer, by the names of the graph's inputs."""
    shape = (1, cache.num_kv_heads, cache.max_length, cache.head_dim)
    return {
        f"past_{kind}_{layer}": torch.zeros(shape, device=device, dtype=dtype)
        for layer, kind in product(range(cache.num_layers), "kv")
    }


def film_providers(is_cuda: bool) -> tuple[str, ...]:
    """Return what onnxruntime looks at films with."""
    offered = import_onnxruntime().get_available_providers()
    return CUDA if is_cuda and CUDA[0] in offered else CPU


def _precision(is_cuda: bool) -> torch.dtype:
    """Return the precision of weights and caches; old GPUs have no bfloat16."""
    if not is_cuda:
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
