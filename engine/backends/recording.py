"""Steps on a GPU that come again and again, recorded once as CUDA graphs and replayed.

A step of a small model is hundreds of short kernels; recorded for a number of rows, all of them are
started by one call. Prompts are long enough to run without.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.backends.base import Logits
from engine.backends.device import Call, DeviceBackend
from engine.backends.rows import MAX_WIDTH
from engine.bundle import Bundle, CacheShape

MEMORY_SHARE = 0.7
"""Of the GPU memory that is free once the weights are there: at most so much becomes cache."""
MAX_ROWS = 64
WARM_UPS = 3
"""Runs before a recording: what is allocated or chosen once is so before (torch's CUDA notes)."""

Key = tuple[int, int, int, range | None]
"""What makes two steps one recording: rows, tokens a row, first wanted position, token ids."""
Launch = Callable[[Tensor], Tensor | None]
"""Computes from ids and starts [B, S + 1] on the device, without waiting for it."""


class Recording:
    """A CUDA graph of one step: its inputs are filled anew, then it is replayed."""

    def __init__(self, launch: Launch, fed: Tensor, pool: Any) -> None:
        self.fed = fed.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
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


class RecordedBackend(DeviceBackend):
    """A backend whose caches are torch tensors [B, H, M, D]."""

    device: str
    caches: dict[str, Tensor]

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        self.recordings: dict[Key, Recording] = {}
        self.pool = torch.cuda.graph_pool_handle() if self.device == "cuda" else None
        super().__init__(bundle, num_threads)

    @abstractmethod
    def launch(self, call: Call, fed: Tensor) -> Tensor | None:
        """Start the computation of ids and starts [B, S + 1]; return the logits on the device."""

    def row_limit(self) -> int:
        """Return how many sequences the GPU's memory can hold, beside everything else there."""
        if self.device == "cpu":
            return MAX_ROWS
        free, _ = torch.cuda.mem_get_info()
        one = sum(cache[:1].nbytes for cache in self.caches.values())
        return max(1, min(MAX_ROWS, int(free * MEMORY_SHARE) // one))

    def reserve(self, num_rows: int) -> None:
        """Give the caches at least so many rows; recordings of the smaller ones are dropped."""
        held = len(next(iter(self.caches.values())))
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
            logits = self.launch(call, fed.to(self.device))
        return None if logits is None else logits.cpu().numpy()

    def _is_recorded(self, call: Call) -> bool:
        """Tell whether a call is one of those that come again and again."""
        is_short = call.ids.shape[1] <= MAX_WIDTH
        return is_short and call.rows.start == 0 and call.rows.stop in self.buckets

    def _recording(self, call: Call, fed: Tensor) -> Recording:
        """Return the recording of a call, made when it comes first."""
        key = (call.rows.stop, call.ids.shape[1], call.wanted_from, call.head)
        if key not in self.recordings:
            launch = partial(self.launch, call)
            self.recordings[key] = Recording(launch, fed.to(self.device), self.pool)
        return self.recordings[key]


def positions_of(fed: Tensor) -> Tensor:
    """Return the positions [B, S] of ids and starts [B, S + 1]."""
    return fed[:, -1:] + torch.arange(fed.shape[1] - 1, device=fed.device)


def empty_caches(cache: CacheShape, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the caches [1, H, M, D] of every layer, by the names of the graph's inputs."""
    shape = (1, cache.num_kv_heads, cache.max_length, cache.head_dim)
    return {
        f"past_{kind}_{layer}": torch.zeros(shape, device=device, dtype=dtype)
        for layer, kind in product(range(cache.num_layers), "kv")
    }
