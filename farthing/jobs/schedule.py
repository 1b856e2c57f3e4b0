"""The duties of this release, and the worker that performs them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from procrastinate import App, PsycopgConnector
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.idempotency import forget_old
from farthing.invoices.overdue import notify_overdue
from farthing.jobs import cloning
from farthing.jobs.duties import Counts, Duty, everywhere, perform
from farthing.jobs.tables import JobRun
from farthing.payments.gateways import Gateways
from farthing.payments.reconciliation import reconcile
from farthing.payments.voiding import PaymentEffects
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

JOB_RUNS_KEPT = timedelta(days=30)
BATCH = 500


def duties(database: Database, settings: Settings) -> Sequence[Duty]:
    """Every duty of this release, by the name that `farthing jobs run` takes."""
    gateways = Gateways(database, settings, PaymentEffects())

    async def overdue(session: AsyncSession, now: datetime) -> int:
        return await notify_overdue(session, now, BATCH)

    async def reconciliation(session: AsyncSession, now: datetime) -> int:
        await reconcile(session, gateways, now)
        return 0  # it goes through all of them by itself

    return (
        Duty("invoice_overdue_scan", "*/15 * * * *", everywhere(overdue)),
        Duty("payment_reconciliation", "*/15 * * * *", everywhere(reconciliation)),
        Duty("retention", "0 4 * * *", _retention),
    )


async def _retention(database: Database, now: datetime) -> Counts:
    async with database.transaction(SYSTEM) as session:
        await session.execute(delete(JobRun).where(JobRun.scheduled_at < now - JOB_RUNS_KEPT))
        await forget_old(session, now)
    return {"succeeded": 1}


def queue(database: Database, settings: Settings) -> App:
    """The job queue on the same PostgreSQL, with every duty as a periodic task of at most one run at a time."""
    app = App(connector=PsycopgConnector(conninfo=database.url, min_size=1, max_size=4))
    for duty in duties(database, settings):
        _register(app, database, duty)

    async def clone(**asked: str) -> None:
        await cloning.perform(database, **asked)

    app.task(name=cloning.TASK, retry=3)(clone)
    return app


def _register(app: App, database: Database, duty: Duty) -> None:
    async def tick(timestamp: int) -> None:
        await perform(database, duty, datetime.fromtimestamp(timestamp, UTC))

    task = app.task(name=duty.name, queueing_lock=duty.name, lock=duty.name, pass_context=False)(tick)
    app.periodic(cron=duty.cron, periodic_id=duty.name)(task)


async def work(app: App) -> None:
    """Perform jobs until cancelled; a job in hand is finished first."""
    async with app.open_async():
        await app.run_worker_async(concurrency=2, install_signal_handlers=False, delete_jobs="successful")
