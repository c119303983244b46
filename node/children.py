"""A process of our own at the other end of two pipes, which are read and written by a deadline."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

_NO_CHANGES: Mapping[str, str] = MappingProxyType({})


def start_child(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] = _NO_CHANGES,
    stderr: int | None = None,
) -> subprocess.Popen[bytes]:
    """Run a module in a Python of its own, which works in the root folder.

    Parameters
    ----------
    environment
        What it is to have beside our own environment.
    stderr
        Where its standard error goes; None: where ours goes.
    """
    places = os.pathsep.join(str(Path(place).resolve()) for place in sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        cwd="/",
        env={**os.environ, **environment, "PYTHONPATH": places},
    )


def end_child(process: subprocess.Popen[bytes]) -> int:
    """End a process at once; return its exit status, negative for a signal."""
    if process.poll() is None:
        process.kill()
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return status


def reason_of(status: int, deaths: Mapping[int, str]) -> str:
    """Say why a process ended, where a table knows it by its exit status."""
    known = f"it was ended by {signal.Signals(-status).name}" if status < 0 else ""
    return deaths.get(status) or known or f"it ended with {status}"


def read_exactly(pipe: IO[bytes], num_bytes: int, deadline: float = math.inf) -> bytes:
    """Read so many bytes.

    Raises
    ------
    TimeoutError
        They did not come before the deadline (`time.monotonic`).
    EOFError
        The process ended first.
    """
    content = bytearray()
    while len(content) < num_bytes:
        _await(pipe, select.POLLIN, deadline)
        piece = pipe.read(num_bytes - len(content))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)


def write_all(pipe: IO[bytes], content: bytes, deadline: float) -> None:
    """Write all of it to a pipe that is not blocking: who does not read is not waited for.

    Raises
    ------
    TimeoutError
        It was not taken before the deadline (`time.monotonic`).
    OSError
        The process has ended.
    """
    left = memoryview(content)
    while left:
        _await(pipe, select.POLLOUT, deadline)
        left = left[pipe.write(left) or 0 :]


def _await(pipe: IO[bytes], event: int, deadline: float) -> None:
    """Wait until a pipe is ready, or raise TimeoutError."""
    poll = select.poll()  # not `select`, which knows no descriptor above 1023
    poll.register(pipe, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(None if left_s == math.inf else left_s * 1000):
        raise TimeoutError
