"""The pages of reports: which there are, one with its table, and the same table as a file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Controller, Response, get
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import LONG_READ
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, NotFound
from farthing.core.money import ZERO
from farthing.invoices.pdf.figures import grouped
from farthing.invoices.reads.letterhead import seller_zone
from farthing.reporting.files import TableFormat, table_file
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.lists.invoice_list import currencies_of
from farthing.web.dashboard.overview.named_ranges import RANGES
from farthing.web.dashboard.reports.answering import ReportTable, answer_report
from farthing.web.dashboard.reports.asking import (
    COMPARISONS,
    GRAINS,
    NAMES,
    ReportQuestion,
    read_report_question,
)
from farthing.web.dashboard.reports.catalogue import REPORTS, ReportPage, reports_by_category
from farthing.web.rendering.answers import HEADERS, HttpRequest, render, render_in_parts
from farthing.web.rendering.charts import Bar, StripPart, columns, strip
from farthing.web.rendering.words.wording import reason, short_money, with_query

MOST_SHOWN = 150
"""Rows of one page; the files have all."""
MOST_CHARTS = 3


class ReportPages(Controller):
    """Reports."""

    path = "/reports"
    include_in_schema = False
    opt = {LONG_READ: True}

    @get("/", guards=[shows("invoice")])
    async def catalogue(self, request: HttpRequest) -> Response[str]:
        """All reports, with what each says."""
        return render(request, "reports/catalogue.html", categories=reports_by_category())

    @get("/{key:str}", guards=[shows("invoice")])
    async def report(self, key: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """One report: its figures over the days, split as it was asked. They follow what is asked."""
        page, zone, now = _known(key), await seller_zone(session), clock.now()
        problem = ""
        try:
            asked = read_report_question(page, _asked(request), zone, now)
        except FarthingError as error:
            asked, problem = read_report_question(page, {}, zone, now), reason(error)
        frame: dict[str, Any] = {
            "page": page,
            "asked": asked,
            "typed": _asked(request),
            "problem": problem,
            "currencies": await currencies_of(session),
            "ranges": RANGES,
            "grains": GRAINS,
            "comparisons": COMPARISONS,
        }
        if problem:
            return render(request, "reports/report.html", **frame)

        async def figures() -> dict[str, Any]:
            table = await _answer(request, session, asked, zone, now)
            return {
                "table": table,
                "shown": table.rows[:MOST_SHOWN],
                "charts_of_table": _charts(asked, table),
                "parameters": with_query(asked.parameters),
                "zone": zone.key,
                "has_parquet": find_spec("pyarrow") is not None,
            }

        return render_in_parts(request, "reports/report.html", "reports/figures.html", figures, **frame)

    @get(["/{key:str}/table.csv", "/{key:str}/table.parquet"], guards=[shows("invoice")])
    async def file(self, key: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[bytes]:
        """The table of the page as a file, with all its rows."""
        _, _, extension = request.url.path.rpartition(".")
        page, zone, now = _known(key), await seller_zone(session), clock.now()
        table = await _answer(request, session, read_report_question(page, _asked(request), zone, now), zone, now)
        rows = ([cell.plain for cell in row.cells] for row in table.rows)
        answer = await table_file(session, [head.label for head in table.heads], rows, key, TableFormat(extension))
        answer.headers.update(HEADERS)
        return answer


def _known(key: str) -> ReportPage:
    """Raises NotFound for a report that there is not."""
    if key not in REPORTS:
        raise NotFound(f"There is no report '{key}'", {"key": key})
    return REPORTS[key]


def _asked(request: HttpRequest) -> dict[str, str]:
    return {name: request.query_params.get(name, "").strip().replace("\x00", "")[:100] for name in NAMES}


async def _answer(
    request: HttpRequest, session: AsyncSession, asked: ReportQuestion, zone: ZoneInfo, now: datetime
) -> ReportTable:
    visitor = visitor_of(request)
    return await answer_report(session, asked, zone, now, lambda entity: visitor.may(READ, entity))


def _charts(asked: ReportQuestion, table: ReportTable) -> Sequence[tuple[str, Markup]]:
    """A picture for each currency with its name, where one says more than its table."""
    codes = table.currencies or [""]
    if len(codes) > MOST_CHARTS or not table.rows:
        return ()
    if asked.page.spreads_ages:
        return [_ages(table, code) for code in codes]
    if not asked.grain or asked.dimension:
        return ()
    return [_series(asked, table, code) for code in codes]


def _series(asked: ReportQuestion, table: ReportTable, code: str) -> tuple[str, Markup]:
    """The first figure over time, or the one that the report is about."""
    keys = asked.page.metric_keys
    place = keys.index(asked.page.charted) if asked.page.charted else 0
    metric = asked.page.metrics[place]
    bars = [
        Bar(
            row.start.strftime("%b" if asked.grain == "month" else "%-d %b"),
            max(row.values[place] or ZERO, ZERO),
            f"{row.named[0].shown}: {row.figures[place].shown}",
        )
        for row in table.rows
        if row.currency == code and row.start is not None
    ]
    name = metric.name + (f" in {code.upper()}" if code else "")

    def tick(amount: Decimal) -> str:
        return short_money(amount, code) if code and metric.is_money else grouped(amount)

    return name, columns(bars, name=name, height=200, tick=tick)


def _ages(table: ReportTable, code: str) -> tuple[str, Markup]:
    """How much of what is owed has which age."""
    totals = [row for row in (*table.totals, *table.rows) if row.currency == code][:1]
    heads = table.heads[-len(totals[0].figures) :]
    parts = [
        StripPart(head.label, max(value or ZERO, ZERO), f"{head.label}: {cell.shown}", f"age-{place}")
        for place, (head, value, cell) in enumerate(zip(heads, totals[0].values, totals[0].figures, strict=True))
    ][:-1]
    name = f"Receivables in {code.upper()} by age"
    return name, strip(parts, name=name)
