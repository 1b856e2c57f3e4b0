"""The command `farthing report`: one report of one environment, as a table for people or as CSV."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from farthing.core.encoding.csv_table import csv_bytes
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import NotFound
from farthing.identity.tables import Environment
from farthing.invoices.reads.letterhead import seller_zone
from farthing.reporting.analytics.catalogue import METRICS
from farthing.reporting.analytics.definition import read_report
from farthing.reporting.analytics.engine import AnsweredTable, answer_question
from farthing.reporting.analytics.schemas import ReportShape, RunReportRequest
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope


@dataclass(frozen=True, slots=True)
class RequestedReport:
    """What was typed: the report, its days, its buckets, what splits it, and whose books are meant."""

    key: str
    range: str
    grain: str | None
    dimensions: tuple[str, ...]
    currency: str | None
    environment: str | None

    def request(self) -> RunReportRequest:
        """The same as the API takes it: a series with a grain, a breakdown with dimensions. Raises ValidationFailed."""
        shape = ReportShape.TIMESERIES if self.grain else ReportShape.SCALAR
        by_nature = METRICS[self.key].default_shape is ReportShape.BREAKDOWN
        if not self.grain and (self.dimensions or by_nature):
            shape = ReportShape.BREAKDOWN
        body = {
            "range": self.range,
            "shape": shape.value,
            "grain": self.grain,
            "dimensions": list(self.dimensions),
            "currency": self.currency,
        }
        return convert(body, RunReportRequest)


async def print_report(database: Database, console: Console, requested: RequestedReport, *, csv: bool) -> None:
    """Print a report. Raises NotFound for an unknown report or environment, ValidationFailed."""
    if requested.key not in METRICS:
        raise NotFound(f"There is no report '{requested.key}': {', '.join(METRICS)}", {"key": requested.key})
    environment = await find_environment(database, requested.environment)
    now = environment.frozen_time or database.clock.now()
    async with database.transaction(Scope(environment.tenant_id, environment.id), read_only=True) as session:
        question = read_report(requested.key, requested.request(), await seller_zone(session), now)
        table = await answer_question(session, question, now)
    if csv:
        sys.stdout.write(csv_bytes(table.question.columns, map(table.text_of, table.rows)).decode())
    else:
        console.print(_shown(table))


def _shown(table: AnsweredTable) -> Table:
    named = len(table.question.row_columns)
    shown = Table()
    for place, column in enumerate(table.question.columns):
        shown.add_column(column, justify="left" if place < named else "right")
    for row in table.rows:
        shown.add_row(*table.text_of(row))
    return shown


async def find_environment(database: Database, environment_id: str | None) -> Environment:
    """The environment with this id, or the oldest one. Raises NotFound."""
    query = select(Environment).where(Environment.status == Status.PUBLISHED).order_by(Environment.id).limit(1)
    if environment_id is not None:
        query = query.where(Environment.id == environment_id)
    async with database.transaction(SYSTEM, read_only=True) as session:
        environment: Environment | None = await session.scalar(query)
    if environment is None:
        raise NotFound(f"There is no environment {environment_id or ''}", {"environment_id": environment_id})
    return environment
