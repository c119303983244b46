"""Pixels decoded in processes of their own, with limits (`node.render_child` is their inside)."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import PixelError
from engine.pixels import Transform
from engine.results import Image
from node.children import end_child, read_exactly, reason_of, start_child
from node.config import WorkSettings
from node.logs import get_logger, say
from node.render_child import ANSWER

_LOG = get_logger("decoding")
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_WALL_FACTOR = 4
"""Seconds on the clock for a second of processor time: other work may hold the cores."""
_MARGIN_S = 10.0
_DEATHS: Mapping[int, str] = {
    -signal.SIGXCPU: "it took too long",
    -signal.SIGKILL: "the system ended it, as it does where memory runs out",
    -signal.SIGSEGV: "the decoder crashed",
    -signal.SIGABRT: "the decoder crashed",
}


class _Child:
    """One process, started at its first film and again after each death."""

    def __init__(self, settings: WorkSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process, started if it does not run."""
        if self._process is None:
            settings = self._settings
            limits = [str(settings.decode_memory_mb), str(settings.decode_cpu_s)]
            self._process = start_child("node.render_child", *limits, environment=_ONE_THREAD)
        return self._process

    def stop(self) -> int:
        """End the process; return its exit status, negative for a signal."""
        process, self._process = self._process, None
        return 0 if process is None else end_child(process)

    def render(self, path: Path, wanted: Mapping[str, Any]) -> bytes:
        """Render one film in the form that `node.render_child` knows by what is wanted.

        Raises
        ------
        PixelError
            It cannot be decoded, or the process did not survive it.
        """
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        request = {"path": str(path.resolve()), **wanted}
        deadline = time.monotonic() + self._settings.decode_cpu_s * _WALL_FACTOR + _MARGIN_S
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            is_image, length = ANSWER.unpack(read_exactly(process.stdout, ANSWER.size, deadline))
            content = read_exactly(process.stdout, min(length, _MAX_ANSWER_BYTES), deadline)
        except (OSError, EOFError) as error:
            raise self._dead(error) from error
        if not is_image:
            refusal = json.loads(content)
            raise PixelError(str(refusal["reason"]), hint=str(refusal["hint"]))
        return content

    def _dead(self, error: Exception) -> PixelError:
        """Clear a process away that died or hung; return what to say of its film."""
        hung = isinstance(error, TimeoutError)
        if not hung and self._process is not None:
            self._process.wait(_MARGIN_S)
        status = self.stop()
        reason = "it took too long" if hung else reason_of(status, _DEATHS)
        say(_LOG, "decoding.stopped", reason=reason)
        return PixelError(
            f"the pixels cannot be decoded within the limits: {reason}",
            hint="raise node.work.decode_cpu_s or decode_memory_mb if the film is right",
        )


_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A pool of threads would reserve more address space than decoding may take."""


class ConfinedRenderer:
    """Renders films, each in a process that has no other at that time.

    Parameters
    ----------
    settings
        The `node.work` section: a process for each worker, and its limits.
    """

    def __init__(self, settings: WorkSettings) -> None:
        self._children = [_Child(settings) for _ in range(settings.num_workers)]
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        for child in self._children:
            self._idle.put(child)

    def warm_up(self) -> None:
        """Start the processes now, not at the first film; they load while the node goes on."""
        for child in self._children:
            child.start()

    def stop(self) -> None:
        """End the processes."""
        for child in self._children:
            child.stop()

    def render(self, path: Path, transform: Transform) -> Image:
        """Render a stored film: float32 [1, size, size] in [-1, 1].

        Raises
        ------
        PixelError
            It cannot be decoded, or not within the limits; without patient data.
        """
        content = self._render(path, {"transform": transform.as_json()})
        return np.frombuffer(content, "<f4").reshape(1, transform.size, transform.size)

    def display(self, path: Path, max_side: int) -> bytes:
        """Render a stored film for people: a PNG of 8 bit, no side longer than `max_side`.

        Raises
        ------
        PixelError
            As for `render`.
        """
        return self._render(path, {"max_side": max_side})

    def _render(self, path: Path, wanted: Mapping[str, Any]) -> bytes:
        child = self._idle.get()
        try:
            return child.render(path, wanted)
        finally:
            self._idle.put(child)
