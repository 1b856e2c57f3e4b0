"""Periodic duties: what each is called, when it runs, and how it goes through all environments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import FixedClock
from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.identity.tables import Environment, Tenant
from farthing.jobs.tables import JobRun
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

log = structlog.get_logger(__name__)

Counts = Mapping[str, int]
InEnvironment = Callable[[AsyncSession, datetime], Awaitable[int]]
"""Does one batch in one environment at a time; returns how many items it did, 0 when nothing is left."""


@dataclass(frozen=True, slots=True)
class Duty:
    """A named piece of periodic work. `cron` is in UTC."""

    name: str
    cron: str
    run: Callable[[Database, datetime], Awaitable[Counts]]


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


def everywhere(in_environment: InEnvironment) -> Callable[[Database, datetime], Awaitable[Counts]]:
    """A duty that does batches in each environment until none is left there, each batch its own transaction.

    An environment with a test clock lives at its own time. A failure is logged and counted, and the rest goes on.
    """

    async def run(database: Database, now: datetime) -> Counts:
        counts: Counter[str] = Counter()
        for scope, frozen in await environments(database):
            at = frozen or now
            try:
                done = 1
                while done:
                    async with database.session(scope, clock=FixedClock(at)) as session:
                        done = await in_environment(session, at)  # which may commit along the way
                        await session.commit()
                    counts["succeeded"] += done
            except Exception:  # one environment's trouble must not stop the others
                counts["failed"] += 1
                log.exception("duty.failed", environment_id=scope.environment_id)
        return counts

    return run


async def perform(database: Database, duty: Duty, now: datetime) -> JobRun:
    """Run a duty once and write it down."""
    run = JobRun(id=new_id(Kind.RUN), name=duty.name, scheduled_at=now, started_at=database.clock.now())
    try:
        run.counts = dict(await duty.run(database, now))
    except Exception as error:
        run.error = f"{type(error).__name__}: {error}"
        raise
    finally:
        run.finished_at = database.clock.now()
        async with database.transaction(SYSTEM) as session:
            session.add(run)
    # a duty that found nothing to do is not news
    (log.info if any(run.counts.values()) else log.debug)("duty", name=duty.name, **run.counts)
    return run
