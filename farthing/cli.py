"""The command line: `farthing serve`, `worker`, `migrate`, `keys`, `users`, `secret`, `erase`, `migrate-from`, `jobs`,
`fx`, `billing`, `demo`, `openapi`, `report`, `commands.sbom`, `doctor.examination`, `backup`, `restore`.

Each command loads what it needs and no more, so that help and `openapi` answer at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, overload

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape

import farthing
from farthing.core.errors import FarthingError, NotFound, ValidationFailed
from farthing.core.origin import COMMAND_LINE, SERVICE, ChangeSource, acting_as
from farthing.settings import BadSettings, Settings, load

if TYPE_CHECKING:
    from farthing.identity.bootstrap import FirstStart
    from farthing.storage.connections.capacity import Demand
    from farthing.storage.postgres import Database

app = cyclopts.App(name="farthing", help="Usage-based billing, exact to the farthing.", version=farthing.__version__)
keys = cyclopts.App(name="keys", help="API keys of this deployment.")
jobs = cyclopts.App(name="jobs", help="Periodic duties.")
fx = cyclopts.App(name="fx", help="Exchange rates.")
app.command(keys)
app.command(jobs)
app.command(fx)
app.command("farthing.commands.users:users", name="users")
app.command("farthing.commands.secret:secret", name="secret")
app.command("farthing.commands.billing:billing", name="billing")
app.command("farthing.commands.erase:erase", name="erase")
app.command("farthing.commands.migrate_from:migrate_from", name="migrate-from")

# a pipe has no width; tables of ids must not be cut to fit one
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 250)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

DataDir = Annotated[str | None, Parameter(help="Folder of the embedded PostgreSQL (FARTHING_DATA_DIR).")]


def main() -> None:
    """Run a command; what the operator can mend is said in one line and ends with status 2."""
    # what is loaded now, an answer or an invoice is many small objects; walking them every 700 costs a sixth of a run
    gc.set_threshold(50_000, 20, 20)

    import psycopg
    from sqlalchemy.exc import OperationalError

    from farthing.backup import BackupFailed
    from farthing.listener import CannotListen
    from farthing.secret_file import UnusableSecretKey
    from farthing.storage.connections.unusable import UnusableDatabase
    from farthing.storage.embedded import EmbeddedFailed
    from farthing.storage.postgres import UnsafeDatabase

    try:
        app(exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        errors.print(f"farthing: {str(error).strip()}")
        sys.exit(2)
    except (
        BackupFailed,
        BadSettings,
        CannotListen,
        EmbeddedFailed,
        UnsafeDatabase,
        UnusableDatabase,
        UnusableSecretKey,
    ) as error:
        errors.print(f"[red]farthing:[/red] {escape(str(error))}", markup=True)
        sys.exit(2)
    except (OperationalError, psycopg.OperationalError) as error:
        errors.print(f"[red]farthing:[/red] {escape(str(UnusableDatabase.because(error)))}", markup=True)
        sys.exit(2)
    except ValidationFailed as error:
        for field, reason in error.details.items():
            errors.print(f"[red]farthing:[/red] {escape(f'{field} {reason}')}", markup=True)
        sys.exit(2)
    except FarthingError as error:
        errors.print(f"[red]farthing:[/red] {escape(error.message)}", markup=True)
        sys.exit(2 if isinstance(error, NotFound) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _settings(**given: object) -> Settings:
    from farthing import logs

    settings = load(os.environ, **given)
    logs.configure(settings)
    return settings


@overload
def _in_utc(given: datetime) -> datetime: ...


@overload
def _in_utc(given: datetime | None) -> datetime | None: ...


def _in_utc(given: datetime | None) -> datetime | None:
    """A time as it was typed, in UTC unless it says otherwise."""
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=UTC)


def _with_database(
    settings: Settings, task: Callable[[Database], Awaitable[int | None]], demand: Demand | None = None
) -> None:
    """Run `task` on the configured database, migrated; its result is the exit status.

    `demand`: the connections of a process that stays; what the server cannot grant is found out at the start.
    """
    from farthing import server

    async def run(engine: server.Engine) -> int:
        async with server.opened(settings, engine, demand) as database:
            return await task(database) or 0

    # a process that stays serves others; any other command is the operator's own doing
    actor, source = (COMMAND_LINE, ChangeSource.CLI) if demand is None else (SERVICE, ChangeSource.WORKER)
    with server.engine(settings) as engine, acting_as(actor, source):
        status = asyncio.run(run(engine))
    if status:
        sys.exit(status)


@app.command
def serve(
    *,
    data_dir: DataDir = None,
    host: Annotated[str | None, Parameter(help="Address to listen on (FARTHING_HOST).")] = None,
    port: Annotated[int | None, Parameter(help="Port to listen on (FARTHING_PORT).")] = None,
    processes: Annotated[
        int | None, Parameter(help="How many processes answer; 0: as many as suit this machine (FARTHING_PROCESSES).")
    ] = None,
    demo: Annotated[bool, Parameter(help="Load a small company's books on first start.", negative="")] = False,
) -> None:
    """Serve the API, and work on jobs; with no FARTHING_DATABASE_URL, run PostgreSQL too."""
    from farthing import listener, server, supervisor
    from farthing.storage.connections.capacity import demand_of

    settings = _settings(data_dir=data_dir, host=host, port=port, processes=processes)
    listener.check_free(settings)
    count = settings.processes or supervisor.processes_for_this_machine(settings)

    async def started(database: Database, first: FirstStart | None) -> None:
        _greet(settings, first)
        if demo:
            from farthing.demo import ensure_demo

            await ensure_demo(settings, database, console)
        elif first is not None:
            await _invite_owner(settings, database)

    async def task(database: Database) -> None:
        await server.serve(settings, database, started)

    if count == 1:
        _with_database(settings, task, demand_of(settings.pool_size, works=settings.worker))
        return
    with acting_as(SERVICE, ChangeSource.WORKER):
        status = supervisor.serve_together(settings, count, started)
    if status:
        sys.exit(status)


def _greet(settings: Settings, first: FirstStart | None) -> None:
    console.print(f"Farthing {farthing.__version__} at [bold]{settings.base_url}[/bold]", markup=True)
    if first is None:
        return
    if settings.bootstrap_api_key:
        console.print("API key: the one in FARTHING_BOOTSTRAP_API_KEY")
    else:
        console.print(f"API key: [bold]{first.api_key}[/bold]  (shown once; keep it)", markup=True)


async def _invite_owner(settings: Settings, database: Database) -> None:
    """Print how the first person of a new deployment signs in."""
    from farthing.identity.bootstrap import OWNER_EMAIL
    from farthing.identity.sign_in import operator

    link = await operator.link_for(database, settings, OWNER_EMAIL)
    console.print(f"Sign in: as [bold]{OWNER_EMAIL}[/bold], once you have set a password at", markup=True)
    console.print(f"  {link.url}")
    console.print(f"  (works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC)")


@app.command
def worker(*, data_dir: DataDir = None) -> None:
    """Work on jobs and periodic duties only."""
    from farthing import server
    from farthing.storage.connections.capacity import demand_of

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        await server.work_until_stopped(settings, database)

    _with_database(settings, task, demand_of(settings.pool_size, works=True))


@app.command
def migrate(*, data_dir: DataDir = None) -> None:
    """Bring the database to this release's schema; safe to run from many places at once."""
    from farthing import server
    from farthing.storage.migrations import state

    settings = _settings(data_dir=data_dir)
    with server.engine(settings) as engine:
        before, _ = state(engine.url)
        server.bring_up_to_date(engine.url)
        after, _ = state(engine.url)
    console.print(f"schema {before or 'empty'} -> {after}" if before != after else f"schema {after}: nothing to do")


@keys.command(name="create")
def keys_create(
    name: Annotated[str, Parameter(help="What the key is for.")],
    *,
    environment: Annotated[str | None, Parameter(help="Environment id; default: the only or oldest one.")] = None,
    publishable: Annotated[bool, Parameter(help="A key that may only send events.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make an API key of the deployment's owner and print it, once."""
    from farthing.identity.credentials import operator

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        console.print(await operator.create_key(database, settings, name, environment, publishable=publishable))

    _with_database(settings, task)


@keys.command(name="list")
def keys_list(*, data_dir: DataDir = None) -> None:
    """List the keys of every tenant; only what may be shown of them."""
    from rich.table import Table

    from farthing.identity.credentials import operator

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        table = Table("id", "key", "name", "tenant", "environment", "status", "expires")
        for row in await operator.list_keys(database):
            table.add_row(*row)
        console.print(table)

    _with_database(settings, task)


@keys.command(name="revoke")
def keys_revoke(id: Annotated[str, Parameter(help="The key's id.")], *, data_dir: DataDir = None) -> None:
    """Revoke a key, in every process, at once."""
    from farthing.identity.credentials import operator

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        if await operator.revoke_key(database, id):
            console.print(f"revoked {id}")
            return 0
        errors.print(f"no key {id}")
        return 1

    _with_database(settings, task)


@jobs.command(name="list")
def jobs_list(
    *,
    status: Annotated[bool, Parameter(help="Also when each last succeeded and runs next.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the duties and when they run (UTC)."""
    from farthing.jobs.command import print_standings
    from farthing.jobs.schedule import duties

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        if status:
            await print_standings(database, settings, console)
            return
        for duty in duties(database, settings):
            console.print(f"{duty.name:32} {duty.cron}")

    _with_database(settings, task)


@jobs.command(name="run")
def jobs_run(
    name: str,
    *,
    at: Annotated[datetime | None, Parameter(help="As if it were this time (UTC).")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run one duty now, in every environment, and print its counts."""
    from farthing.core.clock import SystemClock
    from farthing.jobs.command import run_duty

    moment = SystemClock().now() if at is None else _in_utc(at)
    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await run_duty(database, settings, name, moment, console, errors)

    _with_database(settings, task)


@app.command
def bill(
    *,
    environment: Annotated[str | None, Parameter(help="Only this environment; default: all of them.")] = None,
    until: Annotated[datetime | None, Parameter(help="As if it were this time (UTC).")] = None,
    dry_run: Annotated[bool, Parameter(help="Work everything out and undo it again.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Bill what is due: periods that ended, trials, cancellations, drafts to be computed and finalized."""
    from farthing.billing.commands import bill_environments

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await bill_environments(settings, database, console, environment, _in_utc(until), dry_run=dry_run)

    _with_database(settings, task)


@fx.command(name="import")
def import_rates(
    file: Annotated[
        str,
        Parameter(help="CSV or XML of the European Central Bank; - reads standard input.", allow_leading_hyphen=True),
    ],
    *,
    environment: Annotated[str | None, Parameter(help="Only this environment; default: all of them.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Import euro reference rates, which exchange rates of source market follow."""
    from farthing.catalogue.fx.commands import import_reference_rates

    settings = _settings(data_dir=data_dir)
    _with_database(settings, lambda database: import_reference_rates(database, console, file, environment))


@app.command
def report(
    key: Annotated[str, Parameter(help="The report's key, such as net_billing; GET /v1/analytics/reports lists them.")],
    *,
    range: Annotated[
        str, Parameter(help="Which days: 2027-01-01..2027-02-01, last_30_days, this_month.")
    ] = "this_year",
    grain: Annotated[str | None, Parameter(help="A row per day, week or month; default: no series.")] = None,
    by: Annotated[list[str] | None, Parameter(help="What to split it by; may be given three times.")] = None,
    currency: Annotated[str | None, Parameter(help="Only this currency.")] = None,
    csv: Annotated[bool, Parameter(help="Print CSV, with every row.", negative="")] = False,
    environment: Annotated[str | None, Parameter(help="Environment id; default: the only or oldest one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print a report: what was invoiced, is owed, is earned, and how that moves."""
    from farthing.reporting.commands import RequestedReport, print_report

    settings = _settings(data_dir=data_dir)
    requested = RequestedReport(key, range, grain, tuple(by or ()), currency, environment)

    async def task(database: Database) -> None:
        await print_report(database, console, requested, csv=csv)

    _with_database(settings, task)


@app.command(name="import")
def import_(
    entity: Annotated[
        Literal["events", "customers", "prices", "features"], Parameter(help="What the rows of the file are.")
    ],
    file: Annotated[Path, Parameter(help="A CSV file, or JSON (.json, .jsonl), as it is or with gzip (.gz).")],
    *,
    dry_run: Annotated[bool, Parameter(help="Name every bad row, and change nothing.", negative="")] = False,
    environment: Annotated[str | None, Parameter(help="Environment id; default: the only or oldest one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Import a file; the same file again goes on where it was interrupted.

    The exit status is 0 only if every row is right.
    """
    from farthing.transfer.commands import RequestedImport, import_file
    from farthing.transfer.enums import ImportEntity

    settings = _settings(data_dir=data_dir)
    requested = RequestedImport(ImportEntity(entity.upper()), file, environment, dry_run)

    async def task(database: Database) -> int:
        return await import_file(settings, database, console, requested)

    _with_database(settings, task)


@app.command
def export(
    entity: Annotated[
        Literal[
            "events",
            "invoice",
            "credit_topups",
            "wallet_debits",
            "credit_usage",
            "usage_analytics",
            "revenue_facts",
        ],
        Parameter(help="What to export."),
    ],
    file: Annotated[Path, Parameter(help="Where to: .csv or .parquet, with .gz compressed.")],
    *,
    since: Annotated[datetime | None, Parameter(help="From this time on (UTC); default: the beginning.")] = None,
    until: Annotated[datetime | None, Parameter(help="Before this time (UTC); default: now.")] = None,
    environment: Annotated[str | None, Parameter(help="Environment id; default: the only or oldest one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Export to a file, which appears when it is whole."""
    from farthing.transfer.commands import RequestedExport, export_file
    from farthing.transfer.enums import ExportEntity

    settings = _settings(data_dir=data_dir)
    requested = RequestedExport(ExportEntity(entity), file, _in_utc(since), _in_utc(until), environment)

    async def task(database: Database) -> int:
        return await export_file(settings, database, console, requested)

    _with_database(settings, task)


@app.command
def clock(
    environment: Annotated[str, Parameter(help="Id of a development environment.")],
    time: Annotated[datetime | None, Parameter(help="Where its clock shall stand (UTC); nothing lets it run.")] = None,
    *,
    data_dir: DataDir = None,
) -> None:
    """Set an environment's test clock; all that is due on the way is done."""
    from farthing.billing.commands import set_clock

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await set_clock(settings, database, console, environment, _in_utc(time))

    _with_database(settings, task)


@app.command
def demo(
    *,
    data_dir: DataDir = None,
    seed: Annotated[int, Parameter(help="Another seed, other books.")] = 1,
    events: Annotated[int, Parameter(help="How many events of usage.", validator=Number(gte=0))] = 1_000_000,
) -> None:
    """Load the demo into the database without serving it; one that was begun is finished as it was begun."""
    from farthing.demo import load_demo

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        await load_demo(settings, database, console, seed=seed, events=events)

    _with_database(settings, task)


@app.command
def openapi() -> None:
    """Print our OpenAPI document."""
    import msgspec

    from farthing.app import described

    text: Any = msgspec.json.format(msgspec.json.encode(described(), enc_hook=str), indent=2)
    sys.stdout.write(text.decode() + "\n")


@app.command
def sbom() -> None:
    """Print a software bill of materials of what is installed, in the CycloneDX format (JSON)."""
    from farthing.commands.sbom import SbomUnavailable, software_bill

    try:
        sys.stdout.write(software_bill() + "\n")
    except SbomUnavailable as error:
        errors.print(f"farthing: {error}")
        sys.exit(2)


@app.command
def doctor(*, data_dir: DataDir = None) -> None:
    """Check configuration, engines and schema, then derive every figure of every invoice again.

    The exit status is 0 only if nothing differs.
    """
    from farthing.doctor.examination import examine

    settings = _settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await examine(settings, database, console)

    _with_database(settings, task)


@app.command
def backup(
    folder: Annotated[Path, Parameter(help="Where to write it; must not be there yet.")],
    *,
    key_file: Annotated[Path | None, Parameter(help="Also write the master key, to this file of its own.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a backup of the whole database, while the server goes on. The master key is not in it."""
    from farthing.backup import report
    from farthing.backup.export import back_up

    settings = _settings(data_dir=data_dir)
    manifest = back_up(settings, folder, errors, key_file)
    report.print_backup(console, settings, folder, manifest, key_file)


@app.command
def restore(
    folder: Annotated[Path, Parameter(help="The backup.")],
    *,
    key_file: Annotated[Path | None, Parameter(help="File of the master key that belongs to the backup.")] = None,
    other_key: Annotated[bool, Parameter(help="Go on with another key than the backup's.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Fill an empty database, or a new data folder, from a backup: all of it, or nothing."""
    from farthing.backup import report
    from farthing.backup.load import restore as restore_backup

    settings = _settings(data_dir=data_dir)
    restored = restore_backup(settings, folder, errors, key_file, other_key=other_key)
    report.print_restored(console, settings, restored)
