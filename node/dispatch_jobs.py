"""Work spread over machines: jobs of procrastinate in the PostgreSQL that holds the ledger.

A job carries no work, it says only that there may be some: whoever takes it asks the ledger what is
due, as every step does. So nothing is lost with a job; each process also puts one into every queue
at each sweep, and a queue that holds one already takes no second.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
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
        self._steps: dict[str, queue.SimpleQueue[Step]] = {}
        self._counts: dict[str, int] = {}
        self._defer = procrastinate.App(
            connector=procrastinate.SyncPsycopgConnector(conninfo=self._conninfo)
        )
        self._runner = _Runner(self._conninfo, self._steps, self._counts)
        self._sweeper.add("jobs-sweep", self._sweep)

    def add(self, name: str, step: Step) -> None:
        """Take a step of this process into service, as a thread of its own; before `start`."""
        self._own.add(name, step)

    def share(self, queue_name: str, steps: Sequence[Step]) -> None:
        """Take steps into service that any process may run; before `start`."""
        idle: queue.SimpleQueue[Step] = queue.SimpleQueue()
        for step in steps:
            idle.put(step)
        self._steps[queue_name] = idle
        self._counts[queue_name] = len(steps)

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

    def stop(self, timeout_s: float) -> bool:
        """Finish the steps under way; tell whether all ended in time."""
        ended = self._sweeper.stop(timeout_s) and self._own.stop(timeout_s)
        ended = self._runner.stop(timeout_s) and ended
        with suppress(psycopg.Error):
            self._defer.close()
        return ended


class _Runner(threading.Thread):
    """Takes jobs, on an event loop of its own; takes up again when the database was away."""

    def __init__(
        self,
        conninfo: str,
        steps: dict[str, queue.SimpleQueue[Step]],
        counts: dict[str, int],
    ) -> None:
        super().__init__(name="jobs", daemon=True)
        self._conninfo = conninfo
        self._steps = steps
        self._counts = counts
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Run until stopped."""
        if self._steps:
            asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._task = asyncio.ensure_future(self._serve())
            try:
                await self._task
            except asyncio.CancelledError:
                return
            except (exceptions.ConnectorException, psycopg.Error, OSError) as error:
                say(_LOG, "jobs.interrupted", level=logging.WARNING, reason=brief(error))
                await asyncio.sleep(_RETRY_S)

    async def _serve(self) -> None:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self._conninfo))

        @app.task(name=_TASK, pass_context=True)
        def look(context: procrastinate.JobContext) -> None:
            self._look(str(context.job.queue))

        async with app.open_async():
            await asyncio.gather(
                *(
                    app.run_worker_async(
                        queues=[name],
                        name=name,
                        concurrency=self._counts[name],
                        install_signal_handlers=False,
                        delete_jobs="always",
                        shutdown_graceful_timeout=1,
                        update_heartbeat_interval=_STALLED_S / 4,
                        stalled_worker_timeout=_STALLED_S,
                    )
                    for name in self._steps
                ),
                _reap(app),
            )

    def _look(self, queue_name: str) -> None:
        """Run a step until there is nothing more to do; in a thread of procrastinate's."""
        step = self._steps[queue_name].get()
        try:
            while not self._stopping.is_set() and run_step(queue_name, step):
                pass
        finally:
            self._steps[queue_name].put(step)

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
