"""The report: how many records of each kind were carried, and which were not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.csv_table import csv_bytes
from farthing.migration.copying.events import EVENTS
from farthing.migration.copying.kinds import kinds
from farthing.migration.tables import MigratedRecord, RecordOutcome

SHOWN = 50
NEVER_CARRIED = (
    "settings, such as how invoices are numbered and look",
    "users, roles and API keys",
    "webhook endpoints, alerts and mails",
    "connections to providers and saved payment methods",
    "cost sheets and scheduled exports",
    "usage of periods that are invoiced",
)
"""What the API of the source does not tell, or what belongs to where it runs."""
_COLUMNS = ("kind", "source_id", "target_id", "label", "outcome", "problem")


@dataclass(frozen=True, slots=True)
class ReportedRecord:
    """A record and what became of it."""

    kind: str
    source_id: str
    target_id: str | None
    label: str
    outcome: RecordOutcome
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """`counts` by kind and outcome; `records` are those of which not all was carried; `ids` those that were carried."""

    counts: dict[str, dict[RecordOutcome, int]]
    records: Sequence[ReportedRecord]
    events_note: str

    @property
    def failed(self) -> int:
        """How many records have to be looked at and copied by another run."""
        return sum(count.get(RecordOutcome.FAILED, 0) for count in self.counts.values())


async def read_report(session: AsyncSession, events_note: str) -> MigrationReport:
    """The report of all runs into the session's environment."""
    table = MigratedRecord
    names = [*(kind.name for kind in kinds()), EVENTS]
    counted = await session.execute(
        select(table.kind, table.outcome, func.count()).where(table.kind.in_(names)).group_by(table.kind, table.outcome)
    )
    counts: dict[str, dict[RecordOutcome, int]] = {name: {} for name in names}
    for kind, outcome, count in counted:
        counts[kind][outcome] = count
    rows = await session.scalars(
        select(table)
        .where(table.outcome != RecordOutcome.CARRIED)
        .order_by(table.outcome.desc(), table.kind, table.name, table.source_id)
    )
    return MigrationReport(counts, [_reported(row) for row in rows], events_note)


def _reported(row: MigratedRecord) -> ReportedRecord:
    return ReportedRecord(row.kind, row.source_id, row.target_id, row.name, row.outcome, tuple(map(str, row.problems)))


def print_report(console: Console, report: MigrationReport) -> None:
    """Print the counts and the records that need somebody's eye."""
    table = Table("kind", "carried", "in part", "left out", "failed")
    order = (
        RecordOutcome.CARRIED,
        RecordOutcome.CARRIED_IN_PART,
        RecordOutcome.LEFT_OUT,
        RecordOutcome.FAILED,
    )
    for kind, counts in report.counts.items():
        if counts:
            table.add_row(kind, *(str(counts.get(outcome, 0)) for outcome in order))
    console.print(table)
    shown = [record for record in report.records if record.outcome is not RecordOutcome.LEFT_OUT]
    for record in shown[:SHOWN]:
        name = f"{record.kind} {record.label or record.source_id}"
        for problem in record.problems:
            console.print(escape(f"{record.outcome.value.replace('_', ' ')}: {name}: {problem}"), markup=True)
    if len(shown) > SHOWN:
        console.print(f"... and {len(shown) - SHOWN} more; --report writes all of them to a file")
    console.print(report.events_note, markup=False)
    console.print("Never carried:", markup=False)
    for line in NEVER_CARRIED:
        console.print(f"  {line}", markup=False)


def write_report(path: Path, report: MigrationReport, carried: Sequence[ReportedRecord]) -> None:
    """Write the report as JSON, or as CSV with a row for each problem, by the ending of the file.

    `carried` are all records with an id here: who stored ids of the source finds ours.
    """
    if path.suffix.lower() == ".csv":
        path.write_bytes(csv_bytes(_COLUMNS, _rows(report, carried)))
        return
    document: dict[str, Any] = {
        "counts": {
            kind: {outcome.value: count for outcome, count in counts.items()}
            for kind, counts in report.counts.items()
            if counts
        },
        "events": report.events_note,
        "never_carried": NEVER_CARRIED,
        "problems": [msgspec.to_builtins(record) for record in report.records],
        "ids": [
            {"kind": record.kind, "source_id": record.source_id, "target_id": record.target_id} for record in carried
        ],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _rows(report: MigrationReport, carried: Sequence[ReportedRecord]) -> list[tuple[str, ...]]:
    with_problems = {(record.kind, record.source_id) for record in report.records}
    plain = [record for record in carried if (record.kind, record.source_id) not in with_problems]
    return [
        (
            record.kind,
            record.source_id,
            record.target_id or "",
            record.label,
            record.outcome.value,
            problem,
        )
        for record in (*report.records, *plain)
        for problem in record.problems or ("",)
    ]


async def read_carried(session: AsyncSession) -> list[ReportedRecord]:
    """Every record that has an id here."""
    table = MigratedRecord
    rows = await session.scalars(
        select(table).where(table.target_id.is_not(None)).order_by(table.kind, table.source_id)
    )
    return [_reported(row) for row in rows]
