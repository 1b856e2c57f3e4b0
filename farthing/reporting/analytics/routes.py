"""Endpoints of analytics: questions, views and built-in reports, each also as CSV."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.work import LONG_READ
from farthing.core.clock import Clock
from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE
from farthing.core.errors import NotFound
from farthing.invoices.reads.letterhead import seller_zone
from farthing.reporting.analytics import views
from farthing.reporting.analytics.catalogue import METRICS
from farthing.reporting.analytics.definition import Question, read_definition, read_report
from farthing.reporting.analytics.engine import AnsweredTable, answer_question
from farthing.reporting.analytics.schemas import (
    AnalyticsQueryRequest,
    AnalyticsQueryResponse,
    AnalyticsViewResponse,
    ListAnalyticsReportsResponse,
    ListAnalyticsViewsResponse,
    MetricFamily,
    RunAnalyticsViewRequest,
    RunReportRequest,
    SaveAnalyticsViewRequest,
    Variables,
)
from farthing.reporting.analytics.tables import AnalyticsView
from farthing.reporting.files import OR_PARQUET, TableFormat, table_file
from farthing.storage.queries.rows import find

READ, WRITE = needs("invoice", "read"), needs("invoice", "write")


class Analytics(Controller):
    """Figures over time."""

    path = "/analytics"
    tags = ("Analytics",)
    opt = {LONG_READ: True}

    @post("/query", operation_id="queryAnalytics", guards=[READ], status_code=200)
    async def query(self, data: AnalyticsQueryRequest, session: AsyncSession, clock: Clock) -> AnalyticsQueryResponse:
        """Ask for metrics over time, by dimensions, or as one figure."""
        return (await _answer(session, await _question(session, data, clock), clock)).response()

    @post(
        "/query/csv",
        operation_id="queryAnalyticsCsv",
        guards=[READ],
        status_code=200,
        media_type=CSV_MEDIA_TYPE,
        opt=OR_PARQUET,
    )
    async def query_csv(
        self, data: AnalyticsQueryRequest, session: AsyncSession, clock: Clock, format: TableFormat = TableFormat.CSV
    ) -> Response[bytes]:
        """The same as a table for spreadsheets, with every row."""
        return await file_of(
            session, await _answer(session, await _question(session, data, clock), clock), "analytics", format
        )

    @get("/reports", operation_id="listAnalyticsReports", guards=[READ])
    async def reports(self) -> ListAnalyticsReportsResponse:
        """List the built-in reports, and how each may be asked."""
        return ListAnalyticsReportsResponse(items=[metric.entry() for metric in METRICS.values()])

    @post("/reports/{key:str}/query", operation_id="runAnalyticsReport", guards=[READ], status_code=200)
    async def report(
        self, key: str, data: RunReportRequest, session: AsyncSession, clock: Clock
    ) -> AnalyticsQueryResponse:
        """Run a built-in report."""
        return (await _answer(session, await _report(session, key, data, clock), clock)).response()

    @post(
        "/reports/{key:str}/query/csv",
        operation_id="runAnalyticsReportCsv",
        guards=[READ],
        status_code=200,
        media_type=CSV_MEDIA_TYPE,
        opt=OR_PARQUET,
    )
    async def report_csv(
        self,
        key: str,
        data: RunReportRequest,
        session: AsyncSession,
        clock: Clock,
        format: TableFormat = TableFormat.CSV,
    ) -> Response[bytes]:
        """The same as a table for spreadsheets, with every row."""
        return await file_of(
            session, await _answer(session, await _report(session, key, data, clock), clock), key, format
        )


class AnalyticsViews(Controller):
    """Questions that are kept."""

    path = "/analytics/views"
    tags = ("Analytics",)

    @get("/", operation_id="listAnalyticsViews", guards=[READ])
    async def list_all(self, session: AsyncSession, family: MetricFamily | None = None) -> ListAnalyticsViewsResponse:
        """List the views of the environment by name."""
        found = await views.list_views(session, family)
        return ListAnalyticsViewsResponse(items=[views.view_answer(view) for view in found])

    @post("/", operation_id="createAnalyticsView", guards=[WRITE])
    async def create(
        self, data: SaveAnalyticsViewRequest, session: AsyncSession, clock: Clock
    ) -> AnalyticsViewResponse:
        """Keep a question under a name."""
        return views.view_answer(await views.create_view(session, data, clock.now()))

    @get("/{id:str}", operation_id="getAnalyticsView", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> AnalyticsViewResponse:
        """Get a view."""
        return views.view_answer(await find(session, AnalyticsView, id))

    @put("/{id:str}", operation_id="updateAnalyticsView", guards=[WRITE])
    async def update(
        self, id: str, data: SaveAnalyticsViewRequest, session: AsyncSession, clock: Clock
    ) -> AnalyticsViewResponse:
        """Replace the name and the question of a view."""
        return views.view_answer(await views.update_view(session, id, data, clock.now()))

    @delete("/{id:str}", operation_id="deleteAnalyticsView", guards=[WRITE], status_code=204)
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Delete a view."""
        await views.delete_view(session, id)

    @post("/{id:str}/query", operation_id="queryAnalyticsView", guards=[READ], status_code=200, opt={LONG_READ: True})
    async def query(
        self, id: str, session: AsyncSession, clock: Clock, data: RunAnalyticsViewRequest | None = None
    ) -> AnalyticsQueryResponse:
        """Ask the question that a view keeps."""
        return (await _answer(session, await _kept_question(session, id, data, clock), clock)).response()

    @post(
        "/{id:str}/query/csv",
        operation_id="queryAnalyticsViewCsv",
        guards=[READ],
        status_code=200,
        media_type=CSV_MEDIA_TYPE,
        opt={**OR_PARQUET, LONG_READ: True},
    )
    async def query_csv(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        data: RunAnalyticsViewRequest | None = None,
        format: TableFormat = TableFormat.CSV,
    ) -> Response[bytes]:
        """The same as a table for spreadsheets, with every row."""
        question = await _kept_question(session, id, data, clock)
        return await file_of(session, await _answer(session, question, clock), "analytics", format)


async def file_of(session: AsyncSession, table: AnsweredTable, name: str, format: TableFormat) -> Response[bytes]:
    """A table as a file, with all its rows."""
    return await table_file(session, table.question.columns, (table.text_of(row) for row in table.rows), name, format)


async def _answer(session: AsyncSession, question: Question, clock: Clock) -> AnsweredTable:
    return await answer_question(session, question, clock.now())


async def _question(session: AsyncSession, data: AnalyticsQueryRequest, clock: Clock) -> Question:
    return read_definition(data.definition, data.variables, await seller_zone(session), clock.now())


async def _report(session: AsyncSession, key: str, data: RunReportRequest, clock: Clock) -> Question:
    if key not in METRICS:
        raise NotFound(f"There is no report '{key}'", {"key": key})
    return read_report(key, data, await seller_zone(session), clock.now())


async def _kept_question(
    session: AsyncSession, view_id: str, data: RunAnalyticsViewRequest | None, clock: Clock
) -> Question:
    definition = views.definition_of(await find(session, AnalyticsView, view_id))
    given: Variables | None = None if data is None else data.variables
    return read_definition(definition, given, await seller_zone(session), clock.now())
