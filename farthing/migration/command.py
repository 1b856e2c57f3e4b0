"""What `farthing migrate-from` does: copy, report, compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

from farthing.core.clock import FixedClock
from farthing.core.errors import ValidationFailed
from farthing.jobs.execution.exclusion import exclusively
from farthing.migration.comparison import SideComparison, compare_sides
from farthing.migration.next_invoices import BothSides, compare_next_invoices
from farthing.migration.report import (
    MigrationReport,
    print_report,
    read_carried,
    read_report,
    write_report,
)
from farthing.migration.run import MigrationRun
from farthing.migration.source.api import NotOffered, SourceApi
from farthing.reporting.commands import find_environment
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

DIFFERENCES_SHOWN = 50
NO_EVENTS = (
    "Usage of the open periods was not copied (--events-since): it must be sent again from the start of each period."
)


@dataclass(frozen=True, slots=True)
class RequestedMigration:
    """What was typed: where the books are, whose they become, and how far to go."""

    url: str
    key: str
    source_environment: str | None
    environment: str | None
    events_since: datetime | None
    report: Path | None
    dry_run: bool
    only_compare: bool


async def migrate(database: Database, console: Console, requested: RequestedMigration) -> int:
    """Copy, report and compare; the exit status: 0 only if all was carried and both sides agree.

    Run again it goes on where it stopped. Raises NotFound, SourceFailed, InvalidOperation.
    """
    if requested.report is not None and not requested.report.parent.is_dir():
        raise ValidationFailed.of("report", f"there is no folder {requested.report.parent}")
    environment = await find_environment(database, requested.environment)
    scope = Scope(environment.tenant_id, environment.id)
    clock = database.clock if environment.frozen_time is None else FixedClock(environment.frozen_time)
    async with SourceApi(requested.url, requested.key, requested.source_environment) as source:
        await source.post("/customers/search", {"limit": 1})  # the address and the key are right
        async with exclusively(database, f"migration/{environment.id}", None):
            failed, known = 0, dict[tuple[str, str], str]()
            if not requested.only_compare:
                console.print(f"Copying {source.url} into environment {environment.id}", markup=False)
                with _progress(console) as progress:
                    run = MigrationRun(database, scope, clock, source, _counting(progress), dry=requested.dry_run)
                    report = await _run(run, console, requested)
                failed, known = report.failed, run.known
            if requested.dry_run:
                return 1 if failed else 0
            comparison = await compare_sides(database, scope, source, clock.now(), known)
            with_usage = requested.only_compare or requested.events_since is not None
            sides = BothSides(database, scope, source, clock.now(), known)
            await compare_next_invoices(sides, comparison, with_usage=with_usage)
    print_comparison(console, comparison)
    return 1 if failed or comparison.differences else 0


async def _run(run: MigrationRun, console: Console, requested: RequestedMigration) -> MigrationReport:
    events_note = NO_EVENTS
    async with run.opened():
        await run.copy_all()
        if requested.events_since is not None and not run.dry:
            try:
                copied = await run.copy_events(requested.events_since)
                events_note = f"{copied} events since {requested.events_since:%Y-%m-%d %H:%M} UTC were copied."
            except NotOffered as missing:
                events_note = f"The source does not offer {missing}. {NO_EVENTS}"
        await run.complete()
        async with run.transaction() as session:
            report = await read_report(session, events_note)
            carried = await read_carried(session) if requested.report is not None else []
    if run.dry:
        console.print("Dry run: nothing was copied. A run would come to this:")
    print_report(console, report)
    if requested.report is not None:
        write_report(requested.report, report, carried)
        console.print(f"The whole report is in {requested.report}", markup=False)
    return report


def print_comparison(console: Console, comparison: SideComparison) -> None:
    """Print what differs between both sides."""
    console.print(
        f"Compared {comparison.customers} customers, {comparison.open_invoices} open invoices "
        f"and {comparison.next_invoices} next invoices."
    )
    for difference in comparison.differences[:DIFFERENCES_SHOWN]:
        console.print(
            f"differs: {difference.subject}: {difference.figure}: "
            f"{difference.source} at the source, {difference.target} here",
            markup=False,
        )
    more = len(comparison.differences) - DIFFERENCES_SHOWN
    if more > 0:
        console.print(f"... and {more} more differences")
    if not comparison.differences:
        console.print("Both sides agree.")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:.0f}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _counting(progress: Progress) -> Callable[[str, int], None]:
    """Shows how many records of each kind were dealt with."""
    tasks: dict[str, TaskID] = {}

    def count(kind: str, records: int) -> None:
        if kind not in tasks:
            tasks[kind] = progress.add_task(kind, total=None)
        progress.advance(tasks[kind], records)

    return count
