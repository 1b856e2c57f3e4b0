"""The commands `farthing bill` and `farthing clock`: a progress bar around the run, and what it came to."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import select

from farthing.billing.clocks import Clockwork
from farthing.billing.collecting import collect
from farthing.billing.issuing import BillingEffects
from farthing.billing.run import Run, Summary
from farthing.core.clock import FixedClock, as_utc, instant
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.core.money import plain
from farthing.identity.tables import Environment
from farthing.payments.gateways import Gateways
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

MOST_FAILURES_SHOWN = 20


async def _scopes(database: Database, environment: str | None) -> list[tuple[Scope, datetime | None]]:
    query = select(Environment).where(Environment.status == Status.PUBLISHED).order_by(Environment.id)
    if environment is not None:
        query = query.where(Environment.id == environment)
    async with database.transaction(SYSTEM, read_only=True) as session:
        return [(Scope(row.tenant_id, row.id), row.frozen_time) for row in await session.scalars(query)]


async def bill_environments(
    settings: Settings,
    database: Database,
    console: Console,
    environment: str | None,
    until: datetime | None,
    *,
    dry_run: bool,
) -> int:
    """Bill what is due in one environment or in all; the exit status is 1 when something failed.

    An environment with a test clock is billed at its own time, unless `until` says otherwise.
    """
    scopes = await _scopes(database, environment)
    if environment is not None and not scopes:
        console.print(f"no environment {environment}")
        return 2
    gateways = Gateways(database, settings, BillingEffects())
    total = Summary()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        for scope, frozen in scopes:
            now = as_utc(until) if until is not None else frozen or database.clock.now()
            passes: dict[str, TaskID] = {}
            run = Run(database, scope, now, gateways.effects, dry=dry_run)
            passes["subscriptions"] = bar.add_task("subscriptions", total=await run.due_count())

            def progress(name: str, count: int, passes: dict[str, TaskID] = passes) -> None:
                if name not in passes:
                    passes[name] = bar.add_task(name, total=None)
                bar.advance(passes[name], count)

            run = Run(database, scope, now, gateways.effects, dry=dry_run, progress=progress)
            done = await run.all()
            if not dry_run and done.to_collect:
                async with database.session(scope, clock=FixedClock(now)) as session:
                    await collect(session, gateways, done.to_collect, FixedClock(now))
                    await session.commit()
            total.add(done)
            total.failed.update(done.failed)
    _report(console, total, dry_run=dry_run)
    return 1 if total.failed else 0


def _report(console: Console, done: Summary, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    console.print(
        f"{done.rolled} subscriptions {would}rolled, {done.drafted} invoices {would}drafted, "
        f"{done.computed} computed, {done.skipped} of them nothing, {done.finalized} finalized"
    )
    for code, amount in sorted(done.amounts.items()):
        console.print(f"  {plain(amount)} {code}")
    for id, reason in list(done.failed.items())[:MOST_FAILURES_SHOWN]:  # noqa: A001 (a row's id)
        console.print(f"  failed {id}: {reason}")
    if len(done.failed) > MOST_FAILURES_SHOWN:
        console.print(f"  and {len(done.failed) - MOST_FAILURES_SHOWN} more failed")


async def set_clock(
    settings: Settings, database: Database, console: Console, environment: str, time: datetime | None
) -> int:
    """Set an environment's test clock and do what is due on the way; the exit status is 2 when it is refused."""
    scopes = await _scopes(database, environment)
    if not scopes:
        console.print(f"no environment {environment}")
        return 2
    clockwork = Clockwork(database, scopes[0][0], Gateways(database, settings, BillingEffects()))
    try:
        move = await clockwork.set(None if time is None else as_utc(time))
    except FarthingError as error:
        console.print(f"{error.message} {error.details or ''}")
        return 2
    if move.finished_at is None:
        with console.status(f"to {instant(move.target)}"):
            move = await clockwork.advance(move.id)
    frozen, _ = await clockwork.latest()
    console.print("the clock runs" if frozen is None else f"the clock stands at {instant(frozen)}")
    if move.counts:
        console.print(", ".join(f"{count} {name}" for name, count in move.counts.items() if count))
    return 0
