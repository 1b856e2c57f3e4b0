"""The commands `farthing bill` and `farthing clock`: a progress bar around the work, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from farthing.billing.clock.advance import FAILURES, Clockwork
from farthing.billing.collection.collect import collect_due
from farthing.billing.run.passes import Run, Summary
from farthing.billing.tables import ClockAdvance
from farthing.core.clock import FixedClock, as_utc, instant
from farthing.core.money import plain
from farthing.identity.environments import live_environments
from farthing.identity.tables import Environment
from farthing.invoices.ports import InvoicePorts
from farthing.payments.integrations.gateways import Gateways
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

MOST_FAILURES_SHOWN = 20


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

    An environment with a test clock is billed at its own time, unless `until` says otherwise. Raises NotFound.
    """
    gateways = Gateways(database, settings, database.ports.part(InvoicePorts).hooks)
    status = 0
    for environment_row in await live_environments(database, environment):
        now = as_utc(until) if until is not None else environment_row.frozen_time or database.clock.now()
        done = await _bill(
            database, gateways, console, Scope(environment_row.tenant_id, environment_row.id), now, dry_run=dry_run
        )
        _report(console, environment_row, now, done, dry_run=dry_run)
        status = status or (1 if done.failed else 0)
    return status


async def _bill(
    database: Database, gateways: Gateways, console: Console, scope: Scope, now: datetime, *, dry_run: bool
) -> Summary:
    columns = (TextColumn("{task.description:>13}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        passes: dict[str, TaskID] = {}

        def progress(name: str, count: int) -> None:
            if name not in passes:
                passes[name] = bar.add_task(name, total=None)
            bar.advance(passes[name], count)

        run = Run(database, scope, now, dry=dry_run, progress=progress)
        passes["subscriptions"] = bar.add_task("subscriptions", total=await run.due_count())
        done = await run.all()
        if not dry_run:
            done.failed.update(await collect_due(database, scope, gateways, FixedClock(now)))
    return done


def _report(console: Console, environment: Environment, now: datetime, done: Summary, *, dry_run: bool) -> None:
    """What a run came to, in one paragraph; nothing but a line when nothing was due."""
    title = f"{environment.name} ({environment.id}) as of {instant(now.replace(microsecond=0))}"
    counts = [
        (done.rolled, "subscription brought up to date", "subscriptions brought up to date"),
        (done.drafted, "invoice drafted", "invoices drafted"),
        (done.skipped, "of nothing, skipped", "of nothing, skipped"),
        (done.finalized, "invoice finalized", "invoices finalized"),
        (len(done.waiting), "subscription waits for its meters", "subscriptions wait for their meters"),
        (len(done.without_rate), "invoice waits for an exchange rate", "invoices wait for an exchange rate"),
    ]
    lines = [f"{count:>10,}  {singular if count == 1 else many}" for count, singular, many in counts if count]
    if not lines and not done.failed:
        console.print(f"{title}: nothing is due")
        return
    console.print(f"{title}{': a dry run, nothing of it is kept' if dry_run else ''}")
    for line in lines:
        console.print(line)
    for code, amount in sorted(done.amounts.items()):
        console.print(f"{plain(amount):>10}  {code}")
    _report_failures(console, done.failed, len(done.failed))


def _report_failures(console: Console, failures: Mapping[str, str], count: int) -> None:
    if not count:
        return
    console.print(f"{count:>10,}  failed, and will be tried again:", style="red")
    for id, reason in list(failures.items())[:MOST_FAILURES_SHOWN]:  # noqa: A001 (a row's id)
        console.print(f"{'':>12}{id}: {reason}")
    if count > MOST_FAILURES_SHOWN:
        console.print(f"{'':>12}and {count - MOST_FAILURES_SHOWN:,} more")


async def set_clock(
    settings: Settings, database: Database, console: Console, environment: str, time: datetime | None
) -> int:
    """Set an environment's test clock and do what is due on the way; the exit status is 1 when something failed.

    Raises NotFound, and as `Clockwork.move` does.
    """
    (found,) = await live_environments(database, environment)
    gateways = Gateways(database, settings, database.ports.part(InvoicePorts).hooks)
    clockwork = Clockwork(database, Scope(found.tenant_id, found.id), gateways)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("the clock moves", total=1)

        def print_move(move: ClockAdvance) -> None:
            bar.update(task, description=f"the clock has come to {_shown(move.reached)}", completed=_share(move))

        move = await clockwork.move(None if time is None else as_utc(time), print_move)
    stands = "runs again" if time is None else f"stands at {_shown(move.reached)}"
    console.print(f"the clock of {found.name} ({found.id}) {stands}")
    for name, count in move.counts.items():
        if name not in {FAILURES, "failed"} and count:
            console.print(f"{count:>10,}  {name.replace('_', ' ')}")
    _report_failures(console, move.counts.get(FAILURES, {}), move.counts.get("failed", 0))
    return 1 if move.counts.get("failed") else 0


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else instant(moment.replace(microsecond=0))


def _share(move: ClockAdvance) -> float:
    """How much of its way a move has made, 0 to 1."""
    if move.started_from is None or move.reached is None or move.target <= move.started_from:
        return 1.0
    return (move.reached - move.started_from) / (move.target - move.started_from)
