"""The commands about periodic duties: `farthing jobs list`, `run`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, errors, in_utc, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database


jobs = cyclopts.App(name="jobs", help="Periodic duties.")


@jobs.command(name="list")
def jobs_list(
    *,
    status: Annotated[bool, Parameter(help="Also when each last succeeded and runs next.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the duties and when they run (UTC)."""
    from farthing.jobs.duties.command import print_standings
    from farthing.jobs.duties.schedule import duties

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        if status:
            await print_standings(database, settings, console)
            return
        for duty in duties(database, settings):
            console.print(f"{duty.name:32} {duty.cron}")

    with_database(settings, task)


@jobs.command(name="run")
def jobs_run(
    name: str,
    *,
    at: Annotated[datetime | None, Parameter(help="As if it were this time (UTC).")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run one duty now, in every environment, and print its counts."""
    from farthing.core.clock import SystemClock
    from farthing.jobs.duties.command import run_duty

    moment = SystemClock().now() if at is None else in_utc(at)
    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await run_duty(database, settings, name, moment, console, errors)

    with_database(settings, task)
