"""Copying an environment's features and plans into another, in the background.

The target is made, and the job queued, in the request's own transaction: neither happens without the other. What the
copy does is `catalogue.transplant`, which may be run again without doubling anything; its result is kept in the
journal under the run's id.
Rule: docs/rules/identity.md#copying-an-environment
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from procrastinate import App
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.transplant import TransplantResult, transplant
from farthing.core.caller import Caller
from farthing.core.ids import Kind, new_id
from farthing.core.origin import ChangeSource, acting_as, duty_actor
from farthing.jobs.execution.exclusion import exclusively
from farthing.jobs.execution.failures import reason_of
from farthing.jobs.execution.limits import within
from farthing.jobs.tables import JobRun
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

TASK = "environment_clone"
QUEUE = "clones"


LIMIT = timedelta(hours=1)


def lock_of(target_id: str) -> str:
    """The lock of whoever copies into this environment."""
    return f"{TASK}/{target_id}"


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """What the job is told."""

    run_id: str
    tenant_id: str
    user_id: str
    source_id: str
    target_id: str


async def defer(
    session: AsyncSession, queue: App, caller: Caller, source_id: str, target_id: str, now: datetime
) -> str:
    """Queue the copy of an environment into another in the running transaction; the id of its run."""
    run = JobRun(id=new_id(Kind.RUN), name=TASK, scheduled_at=now, started_at=now)
    session.add(run)
    await session.flush()
    connection = await (await session.connection()).get_raw_connection()
    await queue.configure_task(
        TASK, queue=QUEUE, connection=connection.driver_connection, lock=lock_of(target_id)
    ).defer_async(
        run_id=run.id, tenant_id=caller.tenant_id, user_id=caller.user_id, source_id=source_id, target_id=target_id
    )
    return run.id


async def perform(database: Database, worker_id: int | None, asked: CloneRequest) -> None:
    """The job: copy, and keep what came of it."""
    try:
        with acting_as(duty_actor(TASK, owner_id=asked.user_id), ChangeSource.WORKER):
            outcome = await within(LIMIT, _copy(database, worker_id, asked), TASK)
    except (Exception, asyncio.CancelledError) as error:
        await _finish(database, asked.run_id, error=reason_of(error))
        raise
    counts = {
        "features_cloned": len(outcome.features_cloned),
        "features_skipped": len(outcome.features_skipped),
        "plans_cloned": len(outcome.plans_cloned),
        "plans_skipped": len(outcome.plans_skipped),
        "errors": len(outcome.errors),
        "result": asdict(outcome),
    }
    await _finish(database, asked.run_id, counts=counts)


async def _copy(database: Database, worker_id: int | None, asked: CloneRequest) -> TransplantResult:
    source = Scope(asked.tenant_id, asked.source_id, asked.user_id)
    target = Scope(asked.tenant_id, asked.target_id, asked.user_id)
    async with exclusively(database, lock_of(asked.target_id), worker_id):
        return await transplant(database, source, target)


async def _finish(
    database: Database, run_id: str, *, counts: dict[str, Any] | None = None, error: str | None = None
) -> None:
    async with database.transaction(SYSTEM) as session:
        run = await session.get_one(JobRun, run_id)
        run.finished_at, run.counts, run.error = database.clock.now(), counts or {}, error
