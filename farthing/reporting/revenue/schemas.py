"""What revenue asks and answers on the wire; its figures are JSON numbers with all their digits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

from farthing.core.encoding.wire import Moment, Request, Response, Timestamp, currency_code
from farthing.reporting.revenue.by_day.allocation import AllocationPolicy
from farthing.reporting.revenue.lines import RevenueStatus

MOST_IDS = 1_000

Ids = Annotated[list[str], Meta(max_length=MOST_IDS)]
JsonNumber = Annotated[Any, Meta(extra_json_schema={"type": "number"})]


class RevenueGranularity(StrEnum):
    """A row per day, per period of lines, or for the whole time."""

    DAY = "day"
    PERIOD = "period"
    TOTAL = "total"


class RevenueAnalyticsRequest(Request):
    """Which revenue, and by what. Days are those of UTC; every day that the time touches counts whole."""

    start_time: Moment
    end_time: Moment | None = None
    granularity: RevenueGranularity | None = None
    group_by: list[str] | None = None
    customer_ids: Ids | None = None
    subscription_ids: Ids | None = None
    price_ids: Ids | None = None
    meter_ids: Ids | None = None
    currency: str | None = None
    status: RevenueStatus | None = None
    allocation_policy: AllocationPolicy | None = None
    include_adjustments: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.currency:
            self.currency = currency_code("currency", self.currency)


class RevenueAnalyticsQuery(Response):
    """The request with its defaults."""

    start_time: Timestamp
    end_time: Timestamp
    granularity: RevenueGranularity
    group_by: list[str]
    allocation_policy: AllocationPolicy
    include_adjustments: bool
    customer_ids: list[str] | None = None
    subscription_ids: list[str] | None = None
    price_ids: list[str] | None = None
    meter_ids: list[str] | None = None
    currency: str | None = None
    status: RevenueStatus | None = None


class RevenueAnalyticsRow(Response):
    """Revenue of one group: how its net comes about."""

    group: dict[str, str]
    status: RevenueStatus
    usage_at_list_rate: JsonNumber
    tier_delta: JsonNumber
    entitlement_qty: JsonNumber
    entitlement_amount: JsonNumber
    billable_qty: JsonNumber
    line_discount: JsonNumber
    invoice_discount: JsonNumber
    net_amount: JsonNumber
    day: str | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None
    adjustment_type: str | None = None


class RevenueAnalyticsResponse(Response):
    """Rows, whether amounts for whole periods were laid on days, and the request as it was read."""

    rows: list[RevenueAnalyticsRow]
    contains_allocated: bool
    query: RevenueAnalyticsQuery
