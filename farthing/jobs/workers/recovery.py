"""What each worker looks after beside its own jobs: those that others left in hand, and runs that are due and missing.

A job is left in hand when its worker gives no sign of life, or when it is said to run and nobody holds its lock.
The queue's pruning of workers takes their number from their jobs and changes nothing else, so this does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.jobs.duties.duty import Duty
from farthing.jobs.duties.standing import DutyStanding, read_standings
from farthing.jobs.execution.exclusion import end_sessions_of, running
from farthing.jobs.workers.pace import Pace
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

log = structlog.get_logger(__name__)

MOST_ATTEMPTS = 10
"""After so many a job is parked, unless it is a duty: a duty is always due again."""
_AT_ONCE = 3
"""Attempts without waiting in between: what died with its process is rarely at fault."""
_FIRST_WAIT = timedelta(seconds=10)
_LONGEST_WAIT = timedelta(hours=6)
_DUTY_WAIT = timedelta(seconds=30)
_FIRST_RETRY = timedelta(minutes=1)
_LOCK = 0x46_61_72_76


def wait_before(attempt: int) -> timedelta:
    """How long to wait before trying a job again that was tried `attempt` times: 10 s, 20 s, ... 6 h."""
    return _doubled(_FIRST_WAIT, attempt)


def _doubled(first: timedelta, times: int) -> timedelta:
    # beyond a dozen it is the longest in any case
    return min(first * (1 << min(max(times - 1, 0), 12)), _LONGEST_WAIT)


@dataclass(slots=True)
class Recovery:
    """Looks after the queue of one deployment; every worker has one, and one at a time does the work."""

    app: App
    database: Database
    duties: Sequence[Duty]
    pace: Pace
    looked: Callable[[], None]
    """Called after each look that went through."""
    unguarded: set[int] = field(default_factory=set)
    """Jobs that were in hand at the last look without anybody holding their lock."""

    async def keep_looking(self) -> None:
        """Look every few seconds until cancelled; a database that is away ends it with its error."""
        while True:
            await self.look()
            self.looked()
            await asyncio.sleep(self.pace.look_seconds)

    async def look(self) -> None:
        """Take up what was left in hand, and queue what is due and was missed."""
        async with self.database.transaction(SYSTEM) as session:
            if not await take_turn(session, self.pace.stale_seconds):
                return
            for job in await self._left_in_hand(session):
                await self._take_up(session, job)
            now = self.database.clock.now()
            for standing in await read_standings(session, self.duties, now):
                if is_missed(standing, now):
                    await self._queue(standing, now)

    async def _left_in_hand(self, session: AsyncSession) -> list[Job]:
        jobs = list(await self.app.job_manager.list_jobs_async(status=Status.DOING.value))
        silent = await self.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=self.pace.stale_seconds)
        stale = {job.id for job in silent}
        guarded = await running(session, [job.lock for job in jobs if job.lock])
        # between taking its lock and saying that it began, and at its end, a job is without one for a moment
        unguarded = {job.id for job in jobs if job.id is not None and job.lock and job.lock not in guarded}
        left = stale | (unguarded & self.unguarded)
        self.unguarded = unguarded - left
        return [job for job in jobs if job.id in left]

    async def _take_up(self, session: AsyncSession, job: Job) -> None:
        assert job.id is not None
        manager = self.app.job_manager
        if job.lock:
            await end_sessions_of(session, job.lock, self.pace.stale_seconds, self.database.application_name)
        is_duty = any(duty.name == job.task_name for duty in self.duties)
        with _ended_meanwhile(job):
            if job.attempts >= MOST_ATTEMPTS and not is_duty:
                log.error("job.parked", job=job.task_name, id=job.id, attempts=job.attempts)
                await manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=False)
                return
            wait = wait_before(job.attempts - _AT_ONCE + 1) if job.attempts >= _AT_ONCE else timedelta(0)
            retry_at = self.database.clock.now() + (min(wait, _DUTY_WAIT) if is_duty else wait)
            try:
                await manager.retry_job_by_id_async(job.id, retry_at)
            except UniqueViolation:  # the next run waits in the queue already, for this one to be gone
                await manager.finish_job_by_id_async(job.id, Status.ABORTED, delete_job=True)
            log.warning("job.taken_up_again", job=job.task_name, id=job.id, attempts=job.attempts + 1)

    async def _queue(self, standing: DutyStanding, now: datetime) -> None:
        try:
            await self.app.configure_task(standing.name).defer_async(timestamp=int(now.timestamp()))
        except AlreadyEnqueued:
            return
        log.info("duty.queued", name=standing.name, due_since=standing.due_since)


async def take_turn(session: AsyncSession, stale_seconds: float) -> bool:
    """Whether this process looks after the queue now; one that stands still in the middle of it loses its turn."""
    limit = "SELECT set_config('idle_in_transaction_session_timeout', :limit, true)"
    await session.execute(text(limit), {"limit": f"{stale_seconds:g}s"})
    return bool(await session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}))


@contextmanager
def _ended_meanwhile(job: Job) -> Iterator[None]:
    try:
        yield
    except UniqueViolation:
        raise
    except ConnectorException as error:  # the queue refuses to change a job that is not in hand any more
        log.info("job.ended_meanwhile", job=job.task_name, id=job.id, error=str(error.__cause__ or error))


def is_missed(standing: DutyStanding, now: datetime) -> bool:
    """Whether a duty should have begun by now and nothing made it: nobody worked then, or its last run failed.

    A run that failed is made again after a minute, two, four and so on, whatever its schedule.
    """
    if standing.running or standing.waiting or standing.due_since is None:
        return False
    begun = standing.started_at
    if begun is None or standing.last_tick > begun:
        # the queue's own schedule comes first
        return now - max(standing.due_since, standing.last_tick) >= timedelta(seconds=30)
    if standing.failures == 0:
        return False
    ended = standing.finished_at or begun
    return now - ended >= _doubled(_FIRST_RETRY, standing.failures)
