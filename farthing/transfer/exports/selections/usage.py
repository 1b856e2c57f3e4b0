"""Usage and what it costs in the window, for each customer, feature and source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.products.tables import Feature, GroupRow, MeterRow
from farthing.core.encoding.parquet_table import ColumnKind
from farthing.core.enums import Status
from farthing.customers.tables import Customer, ExternalIdTenure
from farthing.events.analytics.usage_cost import analytics
from farthing.events.groupings import SOURCE
from farthing.events.requests import GetUsageAnalyticsRequest
from farthing.events.schemas import UsageAnalyticItem
from farthing.events.tables import StoredEvent
from farthing.events.usage.event_store import store_of
from farthing.storage.postgres import scope_of
from farthing.transfer.exports.selections.customer_pages import customer_pages
from farthing.transfer.exports.selections.selection import Column, ExportRequest, ExportSelection, Rows, texts

CUSTOMERS_AT_ONCE = 500

_DECIMAL = ColumnKind.DECIMAL
_COLUMNS = [
    *texts("customer_name", "customer_id", "customer_external_id"),
    *(Column(name, ColumnKind.MOMENT) for name in ("start_time", "end_time")),
    *texts("feature_name", "feature_id", "feature_group_name", "event_name"),
    Column("event_count", ColumnKind.INTEGER),
    Column("aggregation_field"),
    *(Column(name, _DECIMAL) for name in ("total_usage", "total_cost")),
    *texts("currency", "source"),
]


def select_usage(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-usage"""
    columns = [*_COLUMNS, *(Column(column.name) for column in request.metadata)]
    return ExportSelection(columns, _portions(session, request))


async def _portions(session: AsyncSession, request: ExportRequest) -> AsyncIterator[Rows]:
    group_names = await _group_names(session)
    fields = await _aggregated_fields(session)
    # where events are elsewhere everybody is looked at: who has used nothing has no rows either way
    in_postgres = store_of(session).in_postgres
    used = _has_events(scope_of(session).environment_id, request.window) if in_postgres else true()
    async for customers in customer_pages(session, CUSTOMERS_AT_ONCE, Customer.status == Status.PUBLISHED, used):
        for customer in customers:
            yield await _rows(session, request, customer, group_names, fields)


def _has_events(environment_id: str, window: Period) -> ColumnElement[bool]:
    """Whether anything came in the window under an id that the customer has or had."""
    # looked up for each customer, whatever the planner believes (OFFSET 0 keeps its hands off): else it reads all
    # events of the window for each page of customers
    return (
        select(StoredEvent.id)
        .join(ExternalIdTenure, ExternalIdTenure.external_id == StoredEvent.external_customer_id)
        .where(
            ExternalIdTenure.environment_id == environment_id,
            ExternalIdTenure.customer_id == Customer.id,
            StoredEvent.environment_id == environment_id,
            StoredEvent.timestamp >= window.start,
            StoredEvent.timestamp < window.end,
        )
        .offset(0)
        .exists()
    )


async def _rows(
    session: AsyncSession, request: ExportRequest, customer: Customer, groups: dict[str, str], fields: dict[str, str]
) -> Rows:
    window = request.window
    question = GetUsageAnalyticsRequest(
        external_customer_id=customer.external_id, start_time=window.start, end_time=window.end, group_by=[SOURCE]
    )
    answer = await analytics(session, question, request.now)
    metadata = [customer.meta.get(column.key, "") for column in request.metadata]
    return [
        [
            customer.name,
            customer.id,
            customer.external_id,
            window.start,
            window.end,
            *_figures(item, groups, fields),
            *metadata,
        ]
        for item in answer.items
        if item.event_count
    ]


def _figures(item: UsageAnalyticItem, groups: dict[str, str], fields: dict[str, str]) -> list[object]:
    return [
        item.name or "",
        item.feature_id,
        groups.get(item.feature_id, ""),
        item.event_name or "",
        item.event_count,
        fields.get(item.meter_id or "", ""),
        Decimal(item.total_usage),
        Decimal(item.total_cost),
        item.currency or "",
        item.source or "",
    ]


async def _group_names(session: AsyncSession) -> dict[str, str]:
    """The name of each feature's group."""
    rows = await session.execute(select(Feature.id, GroupRow.name).join(GroupRow, GroupRow.id == Feature.group_id))
    return dict(rows.all())


async def _aggregated_fields(session: AsyncSession) -> dict[str, str]:
    """The property that each meter takes."""
    rows = await session.execute(select(MeterRow.id, MeterRow.field).where(MeterRow.field.is_not(None)))
    return {meter_id: field or "" for meter_id, field in rows}
