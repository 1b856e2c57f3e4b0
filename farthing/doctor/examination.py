"""The doctor: is the deployment sound, and do the books add up?

Looks at the configuration, the engine and the schema, then derives every figure of every invoice of every environment
again from its sources, rates and measures every line of the subscriptions' invoices again, looks for periods that are
missing or billed twice and for what a crash could have left behind, measures every event again, and names each figure
that differs. Reads only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.proof import dunning_differences
from farthing.billing.proof.budgets import coupon_differences
from farthing.billing.proof.completeness import incomplete
from farthing.billing.proof.credit_notes import note_differences
from farthing.billing.proof.credits import credit_differences
from farthing.billing.proof.exchange_rates import customers_without_rate
from farthing.billing.proof.interrupted import left_behind
from farthing.billing.proof.invoices import Proof, prove
from farthing.billing.proof.settlement_notes import settlement_note_differences
from farthing.billing.proof.settlements import settlement_differences
from farthing.billing.proof.uncharged import events_before_subscriptions
from farthing.checkout.proof import checkout_differences
from farthing.core.enums import Status
from farthing.credits.grants.proof import grant_differences
from farthing.credits.reads.derivation import ledger_differences
from farthing.doctor.files import describe_master_key, unsafe_files
from farthing.events.stores.place import clickhouse_at
from farthing.events.upkeep import reconcile
from farthing.events.upkeep.retention import cutoff
from farthing.events.usage.event_store import EventSelection, store_of
from farthing.invoices.figures.derivation import Difference, all_differences, total_differences
from farthing.invoices.tables import Invoice
from farthing.jobs.duties.duty import environments
from farthing.jobs.duties.schedule import duties
from farthing.jobs.duties.standing import overdue, read_queue, read_standings
from farthing.marketplaces.reporting.standing import AgreementStanding, agreement_standings
from farthing.notifications.alerts.proof import alert_differences
from farthing.notifications.undelivered import undelivered_in_environment
from farthing.notifications.webhooks.delivery.backlog import backlog_of_environment
from farthing.notifications.webhooks.delivery.worker import environments_with_endpoints
from farthing.reporting.proof import report_differences
from farthing.reporting.statement.proof import statement_differences
from farthing.settings import Settings
from farthing.storage.capacity import demand_of, granted, shortage
from farthing.storage.migrations import state
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from farthing.transfer.proof import task_differences

PAGE = 500
STALLED_SECONDS = 90.0
"""After so long without a sign of life somebody should have taken a worker's jobs up."""
SHOWN = 50

MOST_AGREEMENTS = 1000
"""How many agreements of an environment the doctor looks at, the newest first."""


@dataclass(slots=True)
class Findings:
    """What was looked at and what was found wrong."""

    invoices: int = 0
    days_of_events: int = 0
    environments: int = 0
    charges: Proof = field(default_factory=Proof)
    """The lines of subscriptions' invoices; its differences are among those here."""
    differences: list[Difference] = field(default_factory=list)
    without_rate: dict[str, str] = field(default_factory=dict)
    """Why no exchange rate serves, by customer who is billed in another currency than that of a live subscription."""
    uncharged: dict[str, int] = field(default_factory=dict)
    """How many events came for a time before their customer's first subscription, by customer: nobody pays for them."""


async def examine(settings: Settings, database: Database, console: Console) -> int:
    """Print what was found; 0 if all is well, 1 otherwise."""
    current, wanted = state(database.url)
    where = f"embedded in {settings.data_dir}" if settings.embedded else "FARTHING_DATABASE_URL"
    console.print(f"configuration   ok ({where})")
    files = unsafe_files(settings)
    console.print(f"files           {f'{len(files)} at fault' if files else 'ok (nobody else can read them)'}")
    for found in files:
        console.print(f"  [red]{found.path}[/red] {found.fault}", markup=True)
    console.print(f"master key      {await describe_master_key(settings, database)}")
    await database.check()
    console.print("engine          ok (PostgreSQL, row-level security holds for this role)")
    enough = _connections(settings, database, console)
    console.print(f"schema          {'ok' if current == wanted else 'NOT current'} ({current}, needs {wanted})")
    await _event_store(settings, console)
    not_well = await examine_duties(settings, database, console)
    await _webhooks(database, console)
    await _undelivered(database, console)
    await _marketplaces(database, console)
    keep = timedelta(days=settings.event_retention_days) if settings.event_retention_days else None
    findings = await audit(database, console, keep)
    console.print(f"books           {findings.invoices} invoices in {findings.environments} environments")
    charges = findings.charges
    billed = f"{charges.lines:,} lines of {charges.invoices:,} subscription invoices"
    console.print(f"charges         {billed}, rated and measured again")
    if charges.late:
        console.print(f"late usage      {charges.late:,} lines: events came after their invoice")
    if charges.unmeasured:
        console.print(
            f"not measured    {charges.unmeasured:,} lines: events past retention, "
            "or a meter or customer that changed since"
        )
    if findings.without_rate:
        console.print(f"exchange rates  {len(findings.without_rate):,} customers cannot be invoiced", style="yellow")
        for customer_id, reason in list(findings.without_rate.items())[:SHOWN]:
            console.print(f"{'':>16}{customer_id}: {reason}")
    if findings.uncharged:
        events = f"{sum(findings.uncharged.values()):,} events of {len(findings.uncharged):,} customers"
        console.print(f"not charged     {events} came for a time before their subscription:")
        for customer_id, count in list(findings.uncharged.items())[:SHOWN]:
            console.print(f"  {customer_id}: {count:,}")
    console.print(f"usage           {findings.days_of_events} days of events, measured again")
    for difference in findings.differences[:SHOWN]:
        console.print(
            f"  [red]{difference.where}[/red] {difference.figure}: "
            f"stored {difference.stored}, derived {difference.derived}",
            markup=True,
        )
    if len(findings.differences) > SHOWN:
        console.print(f"  ... and {len(findings.differences) - SHOWN} more")
    console.print(f"differences     {len(findings.differences)}")
    return 0 if enough and current == wanted and not findings.differences and not not_well and not files else 1


async def _event_store(settings: Settings, console: Console) -> None:
    """Say where events are stored, if that is not PostgreSQL. Raises ServiceUnavailable while it cannot be reached."""
    clickhouse = clickhouse_at(settings.events_url, settings.events_cluster)
    if clickhouse is not None:
        ((version,),) = await clickhouse.rows("SELECT version()")
        console.print(f"events          ok (ClickHouse {version} at {clickhouse.address})")


def _connections(settings: Settings, database: Database, console: Console) -> bool:
    """Whether the server grants what a process of these settings wants, were it alone."""
    demand = demand_of(settings.pool_size, works=settings.worker)
    grant = replace(granted(database.url), in_use=0)
    if demand.total <= grant.most:
        console.print(f"connections     ok (a process wants {demand.total}, PostgreSQL grants {grant.most})")
        return True
    console.print(f"connections     TOO FEW: {shortage(demand, grant)}")
    return False


async def examine_duties(settings: Settings, database: Database, console: Console) -> bool:
    """Print which duties are overdue and which jobs are stalled or parked; whether something should be done.

    In the embedded mode nothing runs beside the doctor, so what is due waits for the next start, and is no fault.
    """
    now = database.clock.now()
    async with database.transaction(SYSTEM, read_only=True) as session:
        standings = await read_standings(session, duties(database, settings), now)
        queue = await read_queue(session, STALLED_SECONDS)
    late = overdue(standings, now)
    console.print(f"duties          {len(standings)} known, {len(late)} overdue")
    for standing in late:
        succeeded = (
            f"last success {standing.succeeded_at:%Y-%m-%d %H:%M} UTC" if standing.succeeded_at else "no success"
        )
        reason = f", {standing.failures} failed since: {standing.error}" if standing.failures else ""
        console.print(f"  {standing.name}: {succeeded}, scheduled {standing.cron}{reason}")
    waits = "; taken up when Farthing serves" if settings.embedded else ""
    console.print(f"jobs            {queue.stalled} stalled, {sum(queue.parked.values())} parked{waits}")
    for task, count in queue.parked.items():
        console.print(f"  {task}: {count} failed for good; the log says why")
    if settings.embedded:
        return False
    if late and not queue.alive:
        console.print("  no worker is alive: start `farthing worker`, or `farthing serve` with FARTHING_WORKER=true")
    return bool(late or queue.stalled)


async def _webhooks(database: Database, console: Console) -> None:
    """Print how many events and deliveries are on their way to endpoints, and since when. That is no fault of ours."""
    backlogs = []
    for scope in await environments_with_endpoints(database):
        async with database.transaction(scope, read_only=True) as session:
            backlogs.append(await backlog_of_environment(session))
    oldest = min((backlog.oldest_at for backlog in backlogs if backlog.oldest_at is not None), default=None)
    since = "" if oldest is None else f", the oldest since {oldest:%Y-%m-%d %H:%M:%S} UTC"
    console.print(f"webhooks        {sum(backlog.count for backlog in backlogs):,} on their way{since}")


async def _undelivered(database: Database, console: Console) -> None:
    """Print what was given up, by environment: somebody should look at it, and it is no fault of the deployment."""
    given_up = {}
    for scope, _ in await environments(database):
        async with database.transaction(scope, read_only=True) as session:
            given_up[scope.environment_id] = await undelivered_in_environment(session)
    messages = sum(undelivered.messages for undelivered in given_up.values())
    emails = sum(undelivered.emails for undelivered in given_up.values())
    console.print(f"given up        {messages:,} messages to endpoints, {emails:,} mails parked")
    for environment_id, undelivered in given_up.items():
        if undelivered.messages or undelivered.emails:
            console.print(f"  {environment_id}: {undelivered.messages:,} messages, {undelivered.emails:,} mails")


async def _marketplaces(database: Database, console: Console) -> None:
    """Print which agreements their marketplaces are not told of as they should be, where there are agreements."""
    known, lines = 0, []
    for scope, frozen in await environments(database):
        async with database.transaction(scope, read_only=True) as session:
            standings = await agreement_standings(session, MOST_AGREEMENTS)
        known += len(standings)
        now = frozen or database.clock.now()
        lines += [agreement_in_words(standing) for standing in standings if standing.is_in_trouble(now)]
    if not known:
        return
    console.print(f"marketplaces    {known:,} agreements, {len(lines):,} to look at")
    for line in lines:
        console.print(f"  {line}")


def agreement_in_words(standing: AgreementStanding) -> str:
    """One line about an agreement, with everything that stands in its way."""
    agreement = standing.agreement
    reasons = [f"{report.hour:%Y-%m-%d %H:%M} UTC: {report.problem}" for report in standing.refused]
    if standing.skips_currency:
        reasons.append("its currency is not reported, only usd is")
    if standing.oldest_untaken is not None:
        since = f"not taken since {standing.oldest_untaken:%Y-%m-%d %H:%M} UTC"
        reasons.append(f"{since}: {standing.problem}" if standing.problem else since)
    return f"{agreement.environment_id} {agreement.subscription_id} at {agreement.provider}: {'; '.join(reasons)}"


async def audit(
    database: Database,
    console: Console | None = None,
    keep: timedelta | None = None,
    only: Collection[str] | None = None,
) -> Findings:
    """Derive every figure of every invoice of every environment again, and measure every event again.

    `keep`: how long events are kept; None is for ever. `only`: the ids of the environments that are looked at; None is
    all of them.
    """
    findings = Findings()
    clocks = dict(await environments(database))
    scopes = [scope for scope in clocks if only is None or scope.environment_id in only]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=console is None) as progress:
        task = progress.add_task("invoices", total=await _count(database, scopes))
        for scope in scopes:
            findings.environments += 1
            last = ""
            while True:
                async with database.transaction(scope, read_only=True) as session:
                    page = await _page(session, last)
                    real_now = database.clock.now()
                    now = clocks[scope] or real_now
                    if not page:
                        findings.differences += await total_differences(session)
                        findings.differences += await incomplete(session)
                        findings.differences += await ledger_differences(session)
                        findings.differences += await credit_differences(session)
                        findings.differences += await note_differences(session)
                        findings.differences += await grant_differences(session)
                        findings.differences += await alert_differences(session)
                        findings.differences += await task_differences(session)
                        findings.differences += await coupon_differences(session)
                        findings.differences += await settlement_differences(session)
                        findings.differences += await settlement_note_differences(session)
                        findings.without_rate |= await customers_without_rate(session, now)
                        findings.uncharged |= await events_before_subscriptions(session)
                        findings.differences += await checkout_differences(session, now)
                        findings.differences += await report_differences(session, now)
                        findings.differences += await statement_differences(session)
                        findings.differences += await dunning_differences(session, now)
                        findings.differences += await left_behind(session, now, real_now)
                        break
                    findings.differences += await all_differences(session, page)
                    kept_since = None if keep is None else await cutoff(session, now, keep)
                    charges = await prove(session, page, kept_since)
                    findings.charges.add(charges)
                    findings.differences += charges.differences
                last = page[-1].id
                findings.invoices += len(page)
                progress.advance(task, len(page))
        measuring = progress.add_task("days of events", total=None)
        for scope in scopes:
            async for found in _measured_again(database, scope):
                findings.days_of_events += 1
                findings.differences += found
                progress.advance(measuring)
    return findings


async def _measured_again(database: Database, scope: Scope) -> AsyncIterator[list[Difference]]:
    """Day by day (UTC), where stored usage is not what the stored events measure."""
    async with database.transaction(scope, read_only=True) as session:
        first, last = await store_of(session).events.span(session, EventSelection())
    if first is None or last is None:
        return
    day = first.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= last:
        async with database.transaction(scope, read_only=True) as session:
            found = await reconcile.differences(session, day, day + reconcile.DAY)
        yield [
            Difference(
                difference.meter_id,
                f"usage on {difference.day:%Y-%m-%d}",
                f"{difference.stored_rows} rows, {difference.stored_sum}",
                f"{difference.measured_rows} rows, {difference.measured_sum}",
            )
            for difference in found
        ]
        day += reconcile.DAY


async def _count(database: Database, scopes: list[Scope]) -> int:
    total = 0
    for scope in scopes:
        async with database.transaction(scope, read_only=True) as session:
            total += await session.scalar(select(func.count()).select_from(Invoice)) or 0
    return total


async def _page(session: AsyncSession, after: str) -> list[Invoice]:
    query = select(Invoice).where(Invoice.id > after, Invoice.status != Status.DELETED).order_by(Invoice.id).limit(PAGE)
    return list(await session.scalars(query))
