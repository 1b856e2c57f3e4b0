"""The commands that read and write files: `farthing import`, `export`, `fx import`; and the figures of `report`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, in_utc, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database


fx = cyclopts.App(name="fx", help="Exchange rates.")


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

    settings = read_settings(data_dir=data_dir)
    requested = RequestedImport(ImportEntity(entity.upper()), file, environment, dry_run)

    async def task(database: Database) -> int:
        return await import_file(settings, database, console, requested)

    with_database(settings, task)


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

    settings = read_settings(data_dir=data_dir)
    requested = RequestedExport(ExportEntity(entity), file, in_utc(since), in_utc(until), environment)

    async def task(database: Database) -> int:
        return await export_file(settings, database, console, requested)

    with_database(settings, task)


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

    settings = read_settings(data_dir=data_dir)
    with_database(settings, lambda database: import_reference_rates(database, console, file, environment))


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

    settings = read_settings(data_dir=data_dir)
    requested = RequestedReport(key, range, grain, tuple(by or ()), currency, environment)

    async def task(database: Database) -> None:
        await print_report(database, console, requested, csv=csv)

    with_database(settings, task)
