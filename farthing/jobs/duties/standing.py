"""How each duty stands: when it last ran, last succeeded, is to run next, and whether it is overdue.

Everything is read from the journal, the queue and the locks, so it is the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from croniter import croniter
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.jobs.duties.duty import Duty
from farthing.jobs.execution.exclusion import running

SHORTEST_PATIENCE = timedelta(minutes=10)
LONGEST_PATIENCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DutyStanding:
    """One duty as the deployment knows it at one moment."""

    name: str
    cron: str
    limit: timedelta
    period: timedelta
    last_tick: datetime
    """When it was last to run, by its schedule."""
    next_run: datetime
    due_since: datetime | None
    """The first time it was to run since its last success, or since the deployment began; None if that is to come."""
    running: bool
    waiting: bool
    """Whether a run of it is in the queue."""
    started_at: datetime | None
    """The last run, whatever became of it."""
    finished_at: datetime | None
    error: str | None
    """Why the last run failed, if it did."""
    failed_items: int
    """What the last run could not do, and will try again."""
    without_rate: int
    """Drafts that the last run left because no exchange rate serves."""
    succeeded_at: datetime | None
    """The end of the last run that went through."""
    failures: int
    """Runs that failed since then."""

    @property
    def patience(self) -> timedelta:
        """How late a success may be: two periods, at least ten minutes, at most an hour."""
        return min(max(2 * self.period, SHORTEST_PATIENCE), LONGEST_PATIENCE)

    def lateness(self, now: datetime, since: datetime | None = None) -> timedelta:
        """How long a success is missing; of the time before `since` nothing is counted."""
        if self.due_since is None:
            return timedelta(0)
        return max(now - max(self.due_since, since or self.due_since), timedelta(0))

    def is_overdue(self, now: datetime, since: datetime | None = None) -> bool:
        """Whether a success is missing for longer than it may be. A run that is in its time is given that time."""
        in_time = self.running and self.started_at is not None and now - self.started_at <= self.limit
        return self.lateness(now, since) > self.patience and not in_time


_READ = """
    SELECT duty.name, last.started_at, last.finished_at, last.error, last.counts, success.finished_at, failures.count,
           waiting.count, (SELECT min(created_at) FROM tenants)
    FROM unnest(%(names)s::text[]) AS duty (name)
    LEFT JOIN LATERAL (
        SELECT started_at, finished_at, error, counts FROM job_runs
        WHERE job_runs.name = duty.name ORDER BY started_at DESC LIMIT 1) AS last ON true
    LEFT JOIN LATERAL (
        SELECT finished_at FROM job_runs
        WHERE job_runs.name = duty.name AND finished_at IS NOT NULL AND error IS NULL
        ORDER BY finished_at DESC LIMIT 1) AS success ON true
    LEFT JOIN LATERAL (
        SELECT count(*) FROM job_runs
        WHERE job_runs.name = duty.name AND error IS NOT NULL
          AND started_at >= coalesce(success.finished_at, '-infinity')) AS failures ON true
    LEFT JOIN LATERAL (
        SELECT count(*) FROM procrastinate_jobs AS job
        WHERE job.queueing_lock = duty.name AND job.status = 'todo') AS waiting ON true
"""


async def read_standings(session: AsyncSession, duties: Sequence[Duty], now: datetime) -> list[DutyStanding]:
    """How each of `duties` stands at `now`, in their order. The session must see all tenants."""
    names = [duty.name for duty in duties]
    connection = await session.connection()
    rows = {row[0]: row for row in await connection.exec_driver_sql(_READ, {"names": names})}
    active = await running(session, names)
    return [_standing(duty, rows[duty.name], duty.name in active, now) for duty in duties]


def _standing(duty: Duty, row: Any, active: bool, now: datetime) -> DutyStanding:
    _, started_at, finished_at, error, counts, succeeded_at, failures, waiting, first_tenant_at = row
    last_tick, next_run = _around(duty.cron, now)
    since = succeeded_at or first_tenant_at
    due = _following(duty.cron, since) if since is not None else None
    return DutyStanding(
        name=duty.name,
        cron=duty.cron,
        limit=duty.limit,
        period=next_run - last_tick,
        last_tick=last_tick,
        next_run=next_run,
        due_since=due if due is not None and due <= now else None,
        running=active,
        waiting=bool(waiting),
        started_at=started_at,
        finished_at=finished_at,
        error=error,
        failed_items=int((counts or {}).get("failed", 0)),
        without_rate=int((counts or {}).get("without_rate", 0)),
        succeeded_at=succeeded_at,
        failures=failures,
    )


def _around(cron: str, at: datetime) -> tuple[datetime, datetime]:
    """The last run that was due by `at`, and the next one. Schedules know no seconds, so a minute has one answer."""
    return _around_minute(cron, at.replace(second=0, microsecond=0))


# a look every few seconds asks the same of every duty, and to read its schedule anew would hold up requests for long
@lru_cache(maxsize=1024)
def _around_minute(cron: str, minute: datetime) -> tuple[datetime, datetime]:
    following = _following(cron, minute)
    return croniter(cron, following).get_prev(datetime).astimezone(UTC), following


@lru_cache(maxsize=1024)
def _following(cron: str, at: datetime) -> datetime:
    following: datetime = croniter(cron, at).get_next(datetime)
    return following.astimezone(UTC)


def overdue(standings: Iterable[DutyStanding], now: datetime, since: datetime | None = None) -> list[DutyStanding]:
    """Those whose success is missing for too long."""
    return [standing for standing in standings if standing.is_overdue(now, since)]


_STALLED = """
    SELECT count(*) FROM procrastinate_jobs AS job
    LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
    WHERE job.status = 'doing'
      AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %(seconds)s))
"""
_PARKED = "SELECT task_name, count(*) AS jobs FROM procrastinate_jobs WHERE status = 'failed' GROUP BY 1 ORDER BY 1"
_ALIVE = "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat >= now() - make_interval(secs => %(seconds)s)"


@dataclass(frozen=True, slots=True)
class QueueStanding:
    """The queue as a whole. `stalled` jobs are in the hand of a worker that gave no sign of life for `seconds`."""

    alive: int
    """Registered workers; each process has three."""
    stalled: int
    parked: dict[str, int]
    """Jobs that failed for good, by task."""


async def read_queue(session: AsyncSession, seconds: float) -> QueueStanding:
    """How the queue stands."""
    connection = await session.connection()
    stalled = (await connection.exec_driver_sql(_STALLED, {"seconds": seconds})).scalar_one()
    alive = (await connection.exec_driver_sql(_ALIVE, {"seconds": seconds})).scalar_one()
    parked = (await connection.exec_driver_sql(_PARKED)).all()
    return QueueStanding(alive, stalled, {str(row.task_name): int(row.jobs) for row in parked})
