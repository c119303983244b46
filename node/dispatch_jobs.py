"""Work spread over machines: jobs of procrastinate in the PostgreSQL that holds the ledger.

A job carries no work, it says only that there may be some: whoever takes it asks the ledger what is
due, as every step does. So nothing is lost with a job; each process also puts one into every queue
at each sweep, and a queue that holds one already takes no second.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import procrastinate
import psycopg
import sqlalchemy as sa
from procrastinate import exceptions

from node.dispatch import LocalDispatch, Step, run_step
from node.logs import brief, get_logger, say

_LOG = get_logger("dispatch")
_TASK = "cxr_node.look"
_SCHEMA_LOCK = 0x43585253
_RETRY_S = 2.0
_SWEEP_JOBS_S = 3.0
_GRACE_S = 5.0
_STALLED_S = 20.0
_KEEP_JOBS_H = 1


class JobDispatch:
    """Steps of this process as threads, and steps that any process may take as jobs.

    Parameters
    ----------
    url
        The PostgreSQL of the ledger.
    sweep_s
        Seconds between two looks at the ledger when nobody kicks.
    queues
        What is shared: each name, and whether more than one job of it may run at a time. A
        process that receives only still puts jobs into the queues of those that draft.
    """

    def __init__(self, url: sa.URL, sweep_s: float, queues: Mapping[str, bool]) -> None:
        self._queues = queues
        self._conninfo = _conninfo(url)
        self._own, self._sweeper = LocalDispatch(sweep_s), LocalDispatch(_SWEEP_JOBS_S)
        self._shared: dict[str, _Shared] = {}
        self._defer = procrastinate.App(
            connector=procrastinate.SyncPsycopgConnector(conninfo=self._conninfo)
        )
        self._runner = _Runner(self._conninfo, self._shared)
        self._sweeper.add("jobs-sweep", self._sweep)
        self._sweeper.add("jobs-watchdog", self._watch)

    def add(self, name: str, step: Step, limit_s: float = math.inf) -> None:
        """Take a step of this process into service, as a thread of its own; before `start`."""
        self._own.add(name, step, limit_s)

    def share(self, queue_name: str, steps: Sequence[Step], limit_s: float = math.inf) -> None:
        """Take steps into service that any process may run; before `start`.

        Parameters
        ----------
        limit_s
            Seconds after which a step that does not end is called hanging. It keeps its place in
            this process; what it held is taken up by another when its lease is over.
        """
        shared = _Shared(queue_name, limit_s, len(steps))
        for step in steps:
            shared.idle.put(step)
        self._shared[queue_name] = shared

    def start(self) -> None:
        """Make procrastinate's tables where they are missing, then begin."""
        _make_schema(self._conninfo)
        self._defer.open()
        self._runner.start()
        self._own.start()
        self._sweeper.start()

    def kick(self) -> None:
        """Look at the ledger now, here and wherever else there is somebody to look."""
        self._own.kick()
        self._sweeper.kick()

    def _sweep(self) -> bool:
        """See to it that every queue holds a job that has not begun."""
        for name in self._queues:
            lock = None if self._queues[name] else name
            with suppress(exceptions.AlreadyEnqueued):
                task = self._defer.configure_task(_TASK, queue=name, queueing_lock=name, lock=lock)
                task.defer()
        return False

    def _watch(self) -> bool:
        """Say once of each step that hangs that it does."""
        for shared in self._shared.values():
            shared.watch()
        return False

    def dead(self) -> tuple[str, ...]:
        """Return the names of the threads that were started and have died."""
        has_died = self._runner.ident is not None and not self._runner.is_alive()
        runner = ("jobs",) if self._shared and has_died else ()
        return (*self._own.dead(), *self._sweeper.dead(), *runner)

    def stop(self, timeout_s: float) -> bool:
        """Finish the steps under way; tell whether all ended in time."""
        ended = self._sweeper.stop(timeout_s) and self._own.stop(timeout_s)
        ended = self._runner.stop(timeout_s) and ended
        with suppress(psycopg.Error):
            self._defer.close()
        return ended


class _Shared:
    """The steps of this process that stand behind one queue."""

    def __init__(self, name: str, limit_s: float, num_steps: int) -> None:
        self.name = name
        self.num_steps = num_steps
        self.idle: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self._limit_s = limit_s
        self._began: dict[int, float] = {}

    def run(self, stopping: threading.Event) -> None:
        """Run a step until there is nothing more to do; in a thread of procrastinate's."""
        step, thread = self.idle.get(), threading.get_ident()
        try:
            while not stopping.is_set():
                self._began[thread] = time.monotonic()
                if not run_step(self.name, step):
                    return
        finally:
            self._began.pop(thread, None)
            self.idle.put(step)

    def watch(self) -> None:
        """Say of a step that has been running for too long that it hangs."""
        for thread, began_at in list(self._began.items()):
            if time.monotonic() - began_at > self._limit_s:
                self._began.pop(thread, None)
                hint = "restart this process; another has taken over its study"
                say(_LOG, "step.hangs", level=logging.ERROR, step=self.name, hint=hint)


class _Runner(threading.Thread):
    """Takes jobs, on an event loop of its own; takes up again when the database was away."""

    def __init__(
        self,
        conninfo: str,
        shared: dict[str, _Shared],
    ) -> None:
        super().__init__(name="jobs", daemon=True)
        self._conninfo = conninfo
        self._shared = shared
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Run until stopped."""
        if self._shared:
            asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._task = asyncio.ensure_future(self._serve())
            try:
                await self._task
            except* asyncio.CancelledError:
                self._stopping.set()
            except* (exceptions.ConnectorException, psycopg.Error, OSError) as errors:
                reason = brief(errors.exceptions[0])
                say(_LOG, "jobs.interrupted", level=logging.WARNING, reason=reason)
            if not self._stopping.is_set():
                await asyncio.sleep(_RETRY_S)

    async def _serve(self) -> None:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self._conninfo))

        @app.task(name=_TASK, pass_context=True)
        def look(context: procrastinate.JobContext) -> None:
            self._shared[str(context.job.queue)].run(self._stopping)

        async with app.open_async(), asyncio.TaskGroup() as group:
            group.create_task(_reap(app))
            for name, shared in self._shared.items():
                serving = app.run_worker_async(
                    queues=[name],
                    name=name,
                    concurrency=shared.num_steps,
                    install_signal_handlers=False,
                    delete_jobs="always",
                    shutdown_graceful_timeout=_GRACE_S,
                    update_heartbeat_interval=_STALLED_S / 4,
                    stalled_worker_timeout=_STALLED_S,
                )
                group.create_task(serving)

    def stop(self, timeout_s: float) -> bool:
        """Take no more jobs; tell whether those under way ended in time."""
        self._stopping.set()
        if self._loop is not None and self._task is not None and self.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        if self.ident is not None:
            self.join(timeout_s)
        return not self.is_alive()


async def _reap(app: procrastinate.App) -> None:
    """Remove the jobs of processes that died; what they stood for is in the ledger."""
    while True:
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_S):
            await app.job_manager.finish_job(
                job, status=procrastinate.jobs.Status.FAILED, delete_job=True
            )
        await app.job_manager.delete_old_jobs(nb_hours=_KEEP_JOBS_H, include_failed=True)
        await asyncio.sleep(_STALLED_S / 4)


def _conninfo(url: sa.URL) -> str:
    """Return what libpq connects by."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _make_schema(conninfo: str) -> None:
    """Make procrastinate's tables, by one process at a time."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        known = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
        if known is not None and known[0] is None:
            schema = procrastinate.schema.SchemaManager.get_schema()
            connection.execute(schema)
