"""Passes of billing in every environment, and how the workers of a deployment share a long one.

One worker runs the duty. Where a pass has more to do than it takes in hand at once, it queues a share for each worker
process: whoever takes one runs the same passes in that environment, and leaves what another has in hand. Nothing
depends on a share: what is not done is due, and whoever comes next does it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued
from sqlalchemy import text

from farthing.billing.collection.collect import collect_due
from farthing.billing.run.passes import CallHelp, Run, Summary
from farthing.core.clock import FixedClock
from farthing.jobs.duties.duty import Counts, environments, rotated
from farthing.jobs.execution.failures import reason_of
from farthing.payments.integrations.gateways import Gateways
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

log = structlog.get_logger(__name__)

SHARES_QUEUE = "shares"
ENVIRONMENT_LIMIT = timedelta(minutes=30)
"""How long billing may take in one environment; one that hangs must not keep the others waiting."""

Pass = Callable[[Run, Summary], Awaitable[None]]
"""One pass of billing over an environment."""

_WORKERS = text(
    """
    SELECT DISTINCT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name LIKE 'farthing % queue'
    """
)
"""The worker processes of the deployment, by the connections that they fetch jobs with."""


def share_task(duty_name: str) -> str:
    """The task of those who take part in a run of this duty."""
    return f"{duty_name}_share"


@dataclass(frozen=True, slots=True)
class SharedBilling:
    """Passes of the billing run, one after the other, in each environment."""

    duty_name: str
    gateways: Gateways
    passes: Sequence[Pass]
    _led: dict[str, asyncio.Event] = field(default_factory=dict)
    """The environments in which this process runs the duty, and when it has ended there."""

    async def everywhere(self, database: Database, now: datetime) -> Counts:
        """The duty: each environment at its own time. A failure of one is logged and counted, and the rest goes on."""
        counts: Counter[str] = Counter()
        for scope, frozen in rotated(await environments(database), now):
            ended = self._led[scope.environment_id] = asyncio.Event()
            try:
                done = await self._bill(database, scope, now, frozen, self._calling(database, scope, now))
            finally:
                ended.set()
                del self._led[scope.environment_id]
            counts.update(done.counts())
        return counts

    async def share(self, database: Database, environment_id: str, now: datetime) -> Counts:
        """Take part in the duty's run in an environment. In the process that runs it there is nothing to gain, so the
        share is kept from coming there again until the run has ended."""
        led = self._led.get(environment_id)
        if led is not None:
            await led.wait()
            return {}
        for scope, frozen in await environments(database):
            if scope.environment_id == environment_id:
                return (await self._bill(database, scope, now, frozen, None)).counts()
        return {}

    async def _bill(
        self, database: Database, scope: Scope, now: datetime, frozen: datetime | None, call_help: CallHelp | None
    ) -> Summary:
        """The passes, and collecting what became payable."""
        done = Summary()
        clock = database.clock if frozen is None else FixedClock(frozen)
        try:
            async with asyncio.timeout(ENVIRONMENT_LIMIT.total_seconds()):
                for run_pass in self.passes:
                    await run_pass(Run(database, scope, frozen or now, call_help=call_help), done)
        except Exception as error:  # one environment's trouble must not stop the others
            done.failed[scope.environment_id] = reason_of(error)
            log.exception("duty.failed", environment_id=scope.environment_id)
        try:
            async with asyncio.timeout(ENVIRONMENT_LIMIT.total_seconds()):
                done.failed.update(await collect_due(database, scope, self.gateways, clock))
        except Exception as error:
            done.failed[scope.environment_id] = reason_of(error)
            log.exception("duty.failed", environment_id=scope.environment_id)
        return done

    def _calling(self, database: Database, scope: Scope, now: datetime) -> CallHelp:
        async def call_help() -> None:
            await self._queue_shares(database, scope.environment_id, now)

        return call_help

    async def _queue_shares(self, database: Database, environment_id: str, now: datetime) -> None:
        """A share for each worker process, this one included, which takes one at a time; none where it is alone."""
        async with database.transaction(SYSTEM, read_only=True) as session:
            workers = set(await session.scalars(_WORKERS))
        if not workers - {f"{database.application_name} queue"}:
            return
        queue = App(connector=PsycopgConnector())  # it is given the connection of each transaction
        for seat in range(len(workers)):
            name = f"{self.duty_name}/{environment_id}/{seat}"
            try:
                async with database.transaction(SYSTEM) as session:
                    connection = await (await session.connection()).get_raw_connection()
                    await queue.configure_task(
                        share_task(self.duty_name),
                        queue=SHARES_QUEUE,
                        lock=name,
                        queueing_lock=name,
                        connection=connection.driver_connection,
                    ).defer_async(environment_id=environment_id, timestamp=int(now.timestamp()))
            except AlreadyEnqueued:
                continue  # an earlier one is not taken yet
        log.info("duty.shared", name=self.duty_name, environment_id=environment_id, workers=len(workers))
