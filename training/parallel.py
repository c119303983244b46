"""Several processes as one: started by ``torchrun``, or alone.

A global batch is a list of row numbers that does not depend on how many processes there are; each
takes its share, and losses are sums divided by the global weight, so one process and eight take
the same step up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """One process among its peers."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Tell whether it writes logs and checkpoints."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a scalar over all processes."""
        if self.size > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Let every process come this far."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def world() -> Iterator[World]:
    """Join the processes that ``torchrun`` started; alone, there is nothing to join."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group(backend)
    try:
        yield World(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
