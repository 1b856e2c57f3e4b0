"""Duties from the command line: how they stand, and one run by hand."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.table import Table

from farthing.jobs.duties.duty import perform
from farthing.jobs.duties.schedule import duties
from farthing.jobs.duties.standing import DutyStanding, read_standings
from farthing.jobs.execution.exclusion import AlreadyRunning
from farthing.jobs.execution.failures import reason_of
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM


async def run_duty(
    database: Database, settings: Settings, name: str, at: datetime, console: Console, errors: Console
) -> int:
    """Run one duty now and print its counts; the exit status: 1 if anything failed, 2 if there is no such duty."""
    duty = next((duty for duty in duties(database, settings) if duty.name == name), None)
    if duty is None:
        errors.print(f"no duty '{name}'; see `farthing jobs list`")
        return 2
    try:
        run = await perform(database, duty, at)
    except AlreadyRunning as error:
        errors.print(error.message)
        return 1
    except Exception as error:  # noqa: BLE001 (logged where it was raised)
        errors.print(f"{name} failed: {reason_of(error)}")
        return 1
    console.print(f"{name}: {run.counts}")
    return 1 if run.counts.get("failed") else 0


async def print_standings(database: Database, settings: Settings, console: Console) -> None:
    """A table of how each duty stands."""
    now = database.clock.now()
    async with database.transaction(SYSTEM, read_only=True) as session:
        standings = await read_standings(session, duties(database, settings), now)
    table = Table("duty", "schedule", "last run", "last success", "next run", "state")
    for standing in standings:
        table.add_row(
            standing.name,
            standing.cron,
            _moment(standing.started_at),
            _moment(standing.succeeded_at),
            _moment(standing.next_run),
            state_of(standing, now),
        )
    console.print(table)


def state_of(standing: DutyStanding, now: datetime) -> str:
    """What is most worth knowing about a duty, in a few words."""
    parts = ["overdue"] if standing.is_overdue(now) else []
    parts += ["running"] if standing.running else []
    if standing.failures:
        parts.append(f"failed {standing.failures}x: {standing.error or 'see the log'}")
    elif standing.failed_items:
        parts.append(f"{standing.failed_items} failed in the last run")
    return ", ".join(parts) or ("ok" if standing.succeeded_at else "not run yet")


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"
