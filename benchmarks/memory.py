"""How fast this machine's cores read memory: the floor of a step that reads every weight once."""

from __future__ import annotations

import statistics
import threading
import time

import numpy as np

NUM_THREADS = 2


def read_s(num_bytes: int, rounds: int = 9) -> float:
    """Return the median seconds that all cores together take to read so many bytes."""
    parts = [np.ones(num_bytes // 8 // NUM_THREADS, np.int64) for _ in range(NUM_THREADS)]
    return statistics.median(_round_s(parts) for _ in range(rounds))


def _round_s(parts: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> float:
    # the greatest value: a reduction that numpy vectorises, and that keeps up with memory
    threads = [threading.Thread(target=part.max) for part in parts]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
