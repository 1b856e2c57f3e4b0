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

from litestar import Controller, post
from litestar.datastructures import State
from procrastinate import App
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.catalogue.transplant import TransplantResult, transplant
from farthing.core.caller import Caller
from farthing.core.clock import Clock
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id, new_ulid
from farthing.core.wire import Request, Response
from farthing.identity import environments
from farthing.identity.schemas import EnvironmentName
from farthing.identity.tables import EnvironmentType
from farthing.jobs.exclusion import exclusively
from farthing.jobs.failures import reason_of
from farthing.jobs.limits import within
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


class CloneEnvironmentRequest(Request):
    """An environment that exists, or the name and type of one to make."""

    target_environment_id: str | None = None
    name: EnvironmentName | None = None
    type: EnvironmentType | None = None


class CloneEnvironmentResponse(Response):
    workflow_id: str
    run_id: str
    message: str


class EnvironmentCloning(Controller):
    path = "/environments"
    tags = ["Environments"]

    @post(
        "/{id:str}/clone",
        operation_id="cloneEnvironment",
        guards=[needs("environment", "write", environment=False)],
        status_code=202,
    )
    async def clone(
        self,
        id: str,
        data: CloneEnvironmentRequest,
        session: AsyncSession,
        caller: Caller,
        clock: Clock,
        state: State,
    ) -> CloneEnvironmentResponse:
        """Copy an environment's features and plans into another one."""
        allowed = state.authenticator.environments_of(caller)
        source = await environments.one(session, id, allowed)
        target_id = await _target(session, data, caller, allowed)
        if target_id == source.id:
            raise ValidationFailed.of("target_environment_id", "must be another environment than the source")
        run_id = await _defer(session, state.queue, caller, source.id, target_id, clock.now())
        return CloneEnvironmentResponse(
            workflow_id=f"{Kind.WORKFLOW}_EnvironmentClone_{new_ulid()}",
            run_id=run_id,
            message="environment clone started",
        )


async def _target(
    session: AsyncSession, data: CloneEnvironmentRequest, caller: Caller, allowed: environments.Allowed
) -> str:
    if data.target_environment_id:
        return (await environments.one(session, data.target_environment_id, allowed)).id
    if data.name is None:
        raise ValidationFailed.of("name", "is required without target_environment_id")
    if data.type is None:
        raise ValidationFailed.of("type", "is required without target_environment_id")
    return (await environments.create(session, caller.tenant_id, data.name, data.type)).id


async def _defer(
    session: AsyncSession, queue: App, caller: Caller, source_id: str, target_id: str, now: datetime
) -> str:
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
