"""Was the machine quiet while something was measured? A repeat beside other work does not count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

MAX_FOREIGN = 0.05
"""Share of one core that other processes may use during a repeat that counts."""
_TICKS = os.sysconf("SC_CLK_TCK")


def busy_s() -> float:
    """Return the seconds that all cores have worked since the machine started (proc(5), stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle, waiting, guest, guest_nice = fields[3], fields[4], fields[8], fields[9]
    return (sum(fields) - idle - waiting - guest - guest_nice) / _TICKS


def own_s(pids: Iterable[int]) -> float:
    """Return the processor seconds that processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def quietly(measure: Callable[[], float], pids: Iterable[int], tries: int) -> tuple[float, bool]:
    """Measure until other processes stayed quiet meanwhile; return the figure and whether they did.

    The last try counts when all were disturbed, and is said to be so.
    """
    everybody = [os.getpid(), *pids]
    figure, share = 0.0, 1.0
    for _ in range(tries):
        busy, own, began = busy_s(), own_s(everybody), time.monotonic()
        figure = measure()
        took_s = time.monotonic() - began
        foreign_s = (busy_s() - busy) - (own_s(everybody) - own)
        share = foreign_s / took_s
        # the kernel counts in hundredths of a second: a short repeat cannot be judged closer
        if foreign_s <= max(MAX_FOREIGN * took_s, 2 / _TICKS):
            return figure, True
    return figure, share <= MAX_FOREIGN
