"""Periodic duties: what each is called, when it runs, and how it goes through all environments."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import FixedClock
from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.core.origin import Actor, ChangeSource, acting_as, duty_actor
from farthing.identity.tables import Environment, Tenant
from farthing.jobs.execution.exclusion import AlreadyRunning, exclusively
from farthing.jobs.execution.failures import reason_of
from farthing.jobs.execution.limits import within
from farthing.jobs.tables import JobRun
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

log = structlog.get_logger(__name__)

Counts = Mapping[str, int]
InEnvironment = Callable[[AsyncSession, datetime], Awaitable[int]]
"""Does one batch in one environment at a time; returns how many items it did, 0 when nothing is left."""

LIMIT = timedelta(hours=1)
BATCH_LIMIT = timedelta(minutes=10)
"""How long a batch may take in one environment; one that hangs there must not keep the others waiting."""
ENOUGH = LIMIT / 2
"""When a duty with much to do leaves the rest to its next run."""
_INTERRUPTED = "its process ended before it did"


Share = Callable[[Database, str, datetime], Awaitable[Counts]]
"""Takes part, in the environment of this id, in the run of a duty that began at this time."""


@dataclass(frozen=True, slots=True)
class Duty:
    """A named piece of periodic work. `cron` is in UTC; a run that reaches `limit` is stopped.

    `share` is there where other workers can take part in a run.
    """

    name: str
    cron: str
    run: Callable[[Database, datetime], Awaitable[Counts]]
    limit: timedelta = LIMIT
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class KnownDuties:
    """The duties of this release, as a service that pages ask for."""

    duties: Sequence[Duty]


async def environments(database: Database) -> list[tuple[Scope, datetime | None]]:
    """Every live environment as a scope, with its test clock if it stands still."""
    async with database.transaction(SYSTEM, read_only=True) as session:
        rows = await session.execute(
            select(Environment.tenant_id, Environment.id, Environment.frozen_time)
            .join(Tenant, Tenant.id == Environment.tenant_id)
            .where(Environment.status == Status.PUBLISHED, Tenant.status == Status.PUBLISHED)
            .order_by(Environment.id)
        )
        return [(Scope(tenant, environment), frozen) for tenant, environment, frozen in rows]


def everywhere(
    in_environment: InEnvironment, *, batch_limit: timedelta = BATCH_LIMIT, enough: timedelta = ENOUGH
) -> Callable[[Database, datetime], Awaitable[Counts]]:
    """A duty that does batches in each environment until none is left there, each batch its own transaction.

    An environment with a test clock lives at its own time. A failure is logged and counted, and the rest goes on.
    After `enough` the rest is left to the next run, which begins with another environment.
    """

    async def run(database: Database, now: datetime) -> Counts:
        counts: Counter[str] = Counter()
        until = time.monotonic() + enough.total_seconds()
        for scope, frozen in rotated(await environments(database), now):
            at = frozen or now
            try:
                done = 1
                while done and time.monotonic() < until:
                    async with (
                        asyncio.timeout(batch_limit.total_seconds()),
                        database.session(scope, clock=FixedClock(at)) as session,
                    ):
                        done = await in_environment(session, at)  # which may commit along the way
                        await session.commit()
                    counts["succeeded"] += done
            except Exception:  # one environment's trouble must not stop the others
                counts["failed"] += 1
                log.exception("duty.failed", environment_id=scope.environment_id)
        return counts

    return run


def rotated(scopes: list[tuple[Scope, datetime | None]], now: datetime) -> list[tuple[Scope, datetime | None]]:
    """The same, begun at another place each minute, so that nobody is always the last."""
    first = int(now.timestamp() // 60) % len(scopes) if scopes else 0
    return scopes[first:] + scopes[:first]


async def perform(database: Database, duty: Duty, now: datetime, worker_id: int | None = None) -> JobRun:
    """Run a duty once, beside nobody else who runs it, and keep in the journal what came of it.

    Raises AlreadyRunning, TookTooLong, and whatever the duty raises.
    """
    return await _perform(database, duty, now, worker_id, duty_actor(duty.name))


async def perform_share(
    database: Database, duty: Duty, name: str, environment_id: str, now: datetime, worker_id: int | None
) -> JobRun:
    """Take part in a duty's run that began at `now`, under a name of its own; what is done is done as by the duty.

    Raises what `perform` does.
    """
    share = duty.share
    assert share is not None, "only a duty that is shared has shares"
    part = Duty(name, duty.cron, lambda database, at: share(database, environment_id, at), duty.limit)
    return await _perform(database, part, now, worker_id, duty_actor(duty.name))


async def _perform(database: Database, duty: Duty, now: datetime, worker_id: int | None, actor: Actor) -> JobRun:
    run = JobRun(id=new_id(Kind.RUN), name=duty.name, scheduled_at=now)
    try:
        with acting_as(actor, ChangeSource.WORKER):
            run.counts = dict(await within(duty.limit, _work(database, duty, run, worker_id), f"duty {duty.name}"))
    except AlreadyRunning:
        raise
    except BaseException as error:
        run.error = _INTERRUPTED if isinstance(error, asyncio.CancelledError) else reason_of(error)
        log.exception("duty.failed", name=duty.name, reason=run.error)
        await _finish(database, run)
        raise
    await _finish(database, run)
    # a duty that found nothing to do is not news
    (log.info if any(run.counts.values()) else log.debug)("duty", name=duty.name, **run.counts)
    return run


async def _work(database: Database, duty: Duty, run: JobRun, worker_id: int | None) -> Counts:
    async with exclusively(database, duty.name, worker_id):
        await _begin(database, run)
        return await duty.run(database, run.scheduled_at)


async def _begin(database: Database, run: JobRun) -> None:
    run.started_at = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        # whoever began one before does not run it any more: the lock is ours
        await session.execute(
            update(JobRun)
            .where(JobRun.name == run.name, JobRun.finished_at.is_(None))
            .values(finished_at=run.started_at, error=_INTERRUPTED)
        )
        session.add(JobRun(id=run.id, name=run.name, scheduled_at=run.scheduled_at, started_at=run.started_at))


async def _finish(database: Database, run: JobRun) -> None:
    run.finished_at = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            update(JobRun)
            .where(JobRun.id == run.id)
            .values(finished_at=run.finished_at, counts=run.counts or {}, error=run.error)
        )
