"""Ray Data, joined and left: on this machine (``local``) or on a cluster by its address.

Ray is the extra ``preprocess`` and is imported here alone, when a job asks for it. A film or a
report stays inside the cluster: Ray's usage reports are switched off before it starts.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import JobError
from training.jobs.parts import Parts
from training.progress import bar

ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*: ")
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # a worker without a GPU keeps the caller's CUDA_VISIBLE_DEVICES; Ray warns until this is set
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # a busy machine takes longer than Ray's half minute to start Ray's own Python processes
    "RAY_agent_register_timeout_ms": "300000",
}


@dataclass(frozen=True)
class Cluster:
    """Where a job runs: a Ray address, how many actors at most, and what each one occupies."""

    address: str
    actors: int = 1
    gpus_per_actor: float = 0.0
    cpus_per_actor: float = 1.0


@dataclass(frozen=True)
class Stage:
    """A class whose instances map one batch of chunks, and what it is built from.

    ``kind(*arguments)`` is built once an actor; its ``__call__`` takes and returns a dict of
    arrays with one entry a chunk.
    """

    kind: type
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """One unit of work: its number and the columns that the stage reads."""

    number: int
    columns: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the chunk as one row of a dataset."""
        return {"chunk": self.number, **self.columns}


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Join the cluster at ``address`` (``local``: start one here), give Ray Data, leave again.

    Raises
    ------
    JobError
        Ray is not installed, there is no cluster at the address, or a worker failed.
    """
    os.environ.update(SETTINGS)
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ModuleNotFoundError as fault:
        raise JobError(
            f"--address {address} needs Ray, which is not installed",
            hint='pip install "cxr-node[preprocess]", or leave --address out to stay in-process',
        ) from fault
    try:
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, ValueError) as fault:
        raise JobError(
            f"no Ray cluster at {address}: {fault}", hint="start one with `ray start --head`"
        ) from fault
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        yield ray.data
    except ray.exceptions.RayError as fault:
        raise JobError(
            f"a worker failed: {reason(str(fault))}",
            hint="finished chunks are kept: start the same command again when it is mended",
        ) from fault
    finally:
        ray.shutdown()


def reason(trace: str) -> str:
    """Return the line of a worker's trace that names its error ("PixelError: no pixels")."""
    named = [line.strip() for line in trace.splitlines() if ERROR_LINE.match(line.strip())]
    return named[0] if named else trace.strip().partition("\n")[0]


def mapped(chunks: Sequence[Chunk], stage: Stage, cluster: Cluster) -> Iterator[tuple[int, bytes]]:
    """Yield each chunk's number and part as actors of a Ray cluster finish them, in any order."""
    with joined(cluster.address) as ray_data:
        dataset = ray_data.from_items([chunk.row() for chunk in chunks])
        dataset = dataset.repartition(len(chunks))
        finished = dataset.map_batches(
            stage.kind,
            fn_constructor_args=stage.arguments,
            batch_size=1,
            compute=ray_data.ActorPoolStrategy(min_size=1, max_size=cluster.actors),
            num_cpus=cluster.cpus_per_actor,
            num_gpus=cluster.gpus_per_actor,
        )
        for row in finished.iter_rows():
            yield int(row["chunk"]), bytes(row["part"])


def in_process(chunks: Sequence[Chunk], stage: Stage) -> Iterator[tuple[int, bytes]]:
    """Yield each chunk's number and part, worked on one after the other here."""
    instance = stage.kind(*stage.arguments)
    for chunk in chunks:
        made = instance({name: objects([value]) for name, value in chunk.row().items()})
        yield chunk.number, made["part"][0]


def objects(values: Sequence[object]) -> NDArray[np.object_]:
    """Return one array entry a value, whatever the value is."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def run_job(parts: Parts, chunks: Sequence[Chunk], stage: Stage, cluster: Cluster | None) -> None:
    """Work on the chunks that are missing, in this process or on a cluster; seal the job."""
    missing = [chunks[number] for number in parts.missing()]
    if not missing:
        parts.seal()
        return
    found = mapped(missing, stage, cluster) if cluster else in_process(missing, stage)
    keep_all(parts, len(chunks), found)


def keep_all(parts: Parts, num_chunks: int, found: Iterable[tuple[int, bytes]]) -> None:
    """Keep chunks as they come and seal the job: a killed run loses those in flight and no more."""
    with bar(parts.name, num_chunks) as progress:
        progress.advance(progress.task_ids[0], num_chunks - len(parts.missing()))
        for number, part in found:
            parts.write(number, part)
            progress.advance(progress.task_ids[0])
    parts.seal()
