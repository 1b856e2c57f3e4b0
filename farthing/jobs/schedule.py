"""The duties of this release, and the worker that performs them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from procrastinate import App, PsycopgConnector
from sqlalchemy import delete

from farthing.api.idempotency import forget_old
from farthing.jobs.duties import Counts, Duty, perform
from farthing.jobs.tables import JobRun
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

JOB_RUNS_KEPT = timedelta(days=30)
BATCH = 500


async def _retention(database: Database, now: datetime) -> Counts:
    async with database.transaction(SYSTEM) as session:
        await session.execute(delete(JobRun).where(JobRun.scheduled_at < now - JOB_RUNS_KEPT))
        await forget_old(session, now)
    return {"succeeded": 1}


DUTIES: Sequence[Duty] = (Duty("retention", "0 4 * * *", _retention),)
"""Every duty, by the name that `farthing jobs run` takes."""


def queue(database: Database) -> App:
    """The job queue on the same PostgreSQL, with every duty as a periodic task of at most one run at a time."""
    app = App(connector=PsycopgConnector(conninfo=database.url, min_size=1, max_size=4))
    for duty in DUTIES:
        _register(app, database, duty)
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
