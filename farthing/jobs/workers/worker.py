"""The queue's tasks, and the worker that performs them for as long as its process lives.

Each duty has a place of its own, so that one that hangs keeps no other waiting; so has taking part in a run of another
worker. All other jobs share a few places of theirs, so that many of them keep no duty waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

import psycopg
import structlog
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.jobs import Job

from farthing.core.event_loop.ending import end_tasks
from farthing.jobs import cloning
from farthing.jobs.duties.duty import Duty, perform, perform_share
from farthing.jobs.duties.schedule import duties
from farthing.jobs.duties.shared_billing import SHARES_QUEUE, share_task
from farthing.jobs.execution.exclusion import AlreadyRunning
from farthing.jobs.execution.ownership import OwnedJobs
from farthing.jobs.workers.pace import ORDINARY_PACE, STALE_SECONDS, Pace, WorkerState
from farthing.jobs.workers.recovery import MOST_ATTEMPTS, Recovery, wait_before
from farthing.settings import Settings
from farthing.storage.connections.liveness import KEEPALIVES
from farthing.storage.postgres import Database

log = structlog.get_logger(__name__)

DUTIES_QUEUE = "default"
OTHER_JOBS_AT_ONCE = 2
POOL_WAIT_SECONDS = 5.0
QUEUE_CONNECTIONS = 2
"""What fetches jobs, gives signs of life and looks after the queue takes turns at these, for a moment each."""
STABLE_SECONDS = 60.0
"""A worker that ends after this long is begun again without a longer pause than the first."""


class WorkerEnded(RuntimeError):
    """A part of the worker that goes on for ever came to an end."""


class BackOff(BaseRetryStrategy):
    """A job that fails is tried again after 10 s, 20 s, ... 6 h, ten times; then it is parked, and can be seen."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, asyncio.CancelledError):  # the process ends: any other may go on at once
            return RetryDecision(retry_in={"seconds": 0})
        if job.attempts + 1 >= MOST_ATTEMPTS:
            log.error("job.parked", job=job.task_name, id=job.id, attempts=job.attempts + 1)
            return None
        return RetryDecision(retry_in={"seconds": int(wait_before(job.attempts + 1).total_seconds())})


def queue(database: Database, settings: Settings) -> App:
    """The job queue on the same PostgreSQL, with this release's duties as periodic tasks."""
    return queue_of(database, duties(database, settings))


def queue_of(database: Database, known: Sequence[Duty]) -> App:
    """The job queue with these duties, each a periodic task that waits at most once and runs at most once."""
    app = App(
        connector=PsycopgConnector(
            conninfo=database.url,
            min_size=1,
            max_size=QUEUE_CONNECTIONS,
            timeout=POOL_WAIT_SECONDS,
            kwargs={
                "application_name": f"{database.application_name} queue",
                "connect_timeout": 5,
                # its transactions take a moment: a process that stands still in one must not keep jobs from others
                "options": f"-c idle_in_transaction_session_timeout={STALE_SECONDS:g}s",
                **KEEPALIVES,
            },
        )
    )
    app.job_manager = OwnedJobs(app.connector)
    for duty in known:
        _register(app, database, duty)

    async def clone(context: JobContext, /, **asked: str) -> None:
        await cloning.perform(database, context.job.worker_id, cloning.CloneRequest(**asked))

    app.task(name=cloning.TASK, queue=cloning.QUEUE, retry=BackOff(), pass_context=True)(clone)
    return app


def _register(app: App, database: Database, duty: Duty) -> None:
    async def tick(context: JobContext, timestamp: int) -> None:
        try:
            await perform(database, duty, datetime.fromtimestamp(timestamp, UTC), context.job.worker_id)
        except AlreadyRunning:  # by hand, say; what it leaves is for the next run
            log.info("duty.already_running", name=duty.name)

    task = app.task(name=duty.name, queue=DUTIES_QUEUE, queueing_lock=duty.name, lock=duty.name, pass_context=True)(
        tick
    )
    app.periodic(cron=duty.cron, periodic_id=duty.name)(task)
    if duty.share is not None:
        _register_shares(app, database, duty)


def _register_shares(app: App, database: Database, duty: Duty) -> None:
    async def take_part(context: JobContext, environment_id: str, timestamp: int) -> None:
        name = context.job.lock or duty.name
        at = datetime.fromtimestamp(timestamp, UTC)
        try:
            await perform_share(database, duty, name, environment_id, at, context.job.worker_id)
        except AlreadyRunning:
            log.info("duty.already_running", name=name)

    app.task(name=share_task(duty.name), queue=SHARES_QUEUE, pass_context=True)(take_part)


async def keep_working(
    database: Database, known: Sequence[Duty], state: WorkerState, pace: Pace = ORDINARY_PACE
) -> None:
    """Perform jobs until cancelled, whatever happens to the database; jobs in hand may end in order then.

    A worker that ends for any other reason is an error: it is logged, and begun again after a pause.
    """
    pause = pace.first_pause
    while True:
        began = time.monotonic()
        # a task of its own: what fails inside can neither hide that the end was asked for nor be taken for it
        work = asyncio.create_task(_work(database, known, state, pace), name="worker's parts")
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait({work}, timeout=pace.end_seconds)
            _log_the_end_of(work)
            raise
        finally:
            state.is_down()
        _log_the_end_of(work)
        pause = pace.first_pause if time.monotonic() - began > STABLE_SECONDS else min(pause * 2, pace.longest_pause)
        state.restarts += 1
        log.warning("worker.begins_again", seconds=pause)
        await asyncio.sleep(pause)


def _log_the_end_of(work: asyncio.Task[None]) -> None:
    if not work.done():
        log.error("worker.does_not_end")
    elif not work.cancelled() and (error := work.exception()) is not None:
        log.error("worker.ended", exc_info=error)


async def _work(database: Database, known: Sequence[Duty], state: WorkerState, pace: Pace) -> None:
    # the queue's pool would wait for a database that is away, and try less and less often
    await (await psycopg.AsyncConnection.connect(database.url, connect_timeout=5, **KEEPALIVES)).close()
    app = queue_of(database, known)
    others = {task.queue for task in app.tasks.values() if not task.name.startswith("builtin:")}
    others -= {DUTIES_QUEUE, SHARES_QUEUE}
    parts: list[asyncio.Task[None]] = []

    def looked() -> None:
        if not any(part.done() for part in parts):
            state.is_up()

    async def for_ever(work: Awaitable[None], name: str) -> None:
        try:
            await work
        finally:
            state.is_down()  # at once: the other parts may take a while to end
        raise WorkerEnded(name)

    async with app.open_async():
        works = {
            "duties": _worker(app, "duties", [DUTIES_QUEUE], len(known), pace),
            # a process takes one share at a time, so that one is left for each of the others
            "shares": _worker(app, "shares", [SHARES_QUEUE], 1, pace),
            "jobs": _worker(app, "jobs", sorted(others), OTHER_JOBS_AT_ONCE, pace),
            "recovery": Recovery(app, database, known, pace, looked).keep_looking(),
        }
        parts += [asyncio.create_task(for_ever(work, name), name=name) for name, work in works.items()]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            recovery, workers = parts[-1:], parts[:-1]
            # a worker that is asked twice gives back no job that it has in hand
            unfinished = await asyncio.gather(
                end_tasks(recovery, pace.end_seconds),
                end_tasks(workers, pace.end_seconds, ask_again=pace.end_seconds),
            )
            left = set().union(*unfinished)
        if left:
            log.error("worker.parts_do_not_end", parts=sorted(part.get_name() for part in left))
        errors = [error for part in parts if (error := _error_of(part)) is not None]
        raise BaseExceptionGroup("parts of the worker ended", errors or [WorkerEnded("cancelled")])


def _error_of(part: asyncio.Task[None]) -> BaseException | None:
    return part.exception() if part.done() and not part.cancelled() else None


async def _worker(app: App, name: str, queues: Sequence[str], places: int, pace: Pace) -> None:
    await app.run_worker_async(
        name=name,
        queues=queues,
        concurrency=places,
        install_signal_handlers=False,
        # the journal says what became of duties; other jobs that failed for good are kept to be seen
        delete_jobs="successful" if name == "jobs" else "always",
        fetch_job_polling_interval=pace.look_seconds,  # nobody is told of a job that was taken up again
        update_heartbeat_interval=pace.heartbeat_seconds,
        stalled_worker_timeout=pace.stale_seconds,
        shutdown_graceful_timeout=pace.orderly_end_seconds,
    )
