"""What usage earned and what it cost to serve.

Revenue is rated usage, as analytics shows it, not what was invoiced. Costs are the prices of the active cost sheet, as
it stands now, also for times gone by. Totals are in one currency: amounts in another are never added, and a question
that would need it is refused, unless it says which currency it means.
Rule: docs/rules/catalogue.md#cost-sheets-and-margins
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from msgspec import Meta
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.prices import price_answers
from farthing.catalogue.answers.schemas import PriceResponse
from farthing.catalogue.costs import sheets
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import tables as products
from farthing.catalogue.products.answers import meter_answer
from farthing.catalogue.products.schemas import MeterResponse
from farthing.core.clock import instant
from farthing.core.encoding.wire import BadField, DecimalText, Response, Timestamp, currency_code
from farthing.core.enums import PriceType, Status
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.customers.tables import Customer
from farthing.events.analytics.usage_cost import charged_usage, meters_asked
from farthing.events.charged_items import ChargedItem
from farthing.events.requests import MOST_IDS, FilterMap, GetUsageAnalyticsRequest, Ranged, conditions_of
from farthing.events.usage.ownership import owners_of
from farthing.events.usage.usage_query import buckets_of, usage_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.rating.pricing.cost import price_quantity, price_values
from farthing.subscriptions.reads.usage_sources import all_items, children_of, items_of_customers

RATIO_DIGITS = 16
EXPANDABLE = frozenset({"meter", "price"})

_HUNDRED = Decimal(100)


class GetCostAnalyticsRequest(Ranged):
    """Whose usage, when (both ends or none; by default the last seven days), and what narrows it.

    `currency` is needed where costs or revenue are in more than one. `limit` and `offset` page the list; totals are
    always over all of it.
    """

    external_customer_id: str | None = None
    feature_ids: Annotated[list[str], Meta(max_length=MOST_IDS)] | None = None
    property_filters: FilterMap | None = None
    expand: list[str] | None = None
    include_children: bool | None = None
    currency: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_IDS)] | None = None
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.start_time is None) != (self.end_time is None):
            missing = "start_time" if self.start_time is None else "end_time"
            raise BadField(missing, "is required with the other")
        if self.currency:
            self.currency = currency_code("currency", self.currency)


class CostPoint(Response):
    """The cost of one window."""

    timestamp: Timestamp
    cost: DecimalText
    quantity: DecimalText
    event_count: int


class CostedMeter(MeterResponse, kw_only=True):
    """A meter with all that its row tells."""

    environment_id: str
    created_by: str
    updated_by: str


class CostAnalyticItem(Response):
    """What one meter's usage cost."""

    meter_id: str
    total_cost: DecimalText
    total_quantity: DecimalText
    total_events: int
    currency: str
    meter_name: str | None = None
    source: str | None = None
    customer_id: str | None = None
    external_customer_id: str | None = None
    properties: dict[str, str] | None = None
    cost_by_period: list[CostPoint] | None = None
    price_id: str | None = None
    costsheet_id: str | None = None
    meter: CostedMeter | None = None
    price: PriceResponse | None = None


class GetDetailedCostAnalyticsResponse(Response):
    """What usage cost by meter, and what is left of what it earned."""

    cost_analytics: list[CostAnalyticItem]
    total_revenue: DecimalText
    total_cost: DecimalText
    margin: DecimalText
    margin_percent: DecimalText
    roi: DecimalText
    roi_percent: DecimalText
    currency: str
    start_time: Timestamp
    end_time: Timestamp


@dataclass(frozen=True, slots=True)
class Margin:
    """What is left of a revenue after its cost, and the shares: of the revenue, and of the cost.

    A ratio is rounded to 16 decimals, and then given in percent; one to nothing is 0.
    """

    revenue: Decimal
    cost: Decimal

    @property
    def amount(self) -> Decimal:
        return EXACT.subtract(self.revenue, self.cost)

    @property
    def percent(self) -> Decimal:
        return EXACT.multiply(_ratio(self.amount, self.revenue), _HUNDRED)

    @property
    def roi(self) -> Decimal:
        return _ratio(self.amount, self.cost)

    @property
    def roi_percent(self) -> Decimal:
        return EXACT.multiply(self.roi, _HUNDRED)


def _ratio(part: Decimal, whole: Decimal) -> Decimal:
    return ZERO if whole == 0 else round_to(Fraction(part) / Fraction(whole), RATIO_DIGITS)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one meter's usage came to at its price on the sheet."""

    meter: products.MeterRow
    price: Price
    quantity: Decimal
    events: int
    amount: Decimal


async def cost_analytics(
    session: AsyncSession, asked: GetCostAnalyticsRequest, now: datetime
) -> GetDetailedCostAnalyticsResponse:
    """Cost, revenue and what is left. Raises NotFound without a cost sheet, ValidationFailed for mixed currencies."""
    start, end = asked.span(now)
    sheet = await sheets.active(session)
    costs = await _costs(session, asked, sheet.id, start, end, now)
    revenue = await _revenue(session, asked, start, end, now)
    code = _currency(asked.currency, costs, revenue)
    costs = [cost for cost in costs if cost.price.currency == code]
    margin = Margin(revenue.get(code, ZERO), exact_sum([cost.amount for cost in costs]))
    offset = asked.offset or 0
    shown = costs[offset : offset + asked.limit] if asked.limit else costs[offset:]
    return GetDetailedCostAnalyticsResponse(
        cost_analytics=await _answers(session, asked, sheet.id, shown),
        total_revenue=plain(margin.revenue),
        total_cost=plain(margin.cost),
        margin=plain(margin.amount),
        margin_percent=plain(margin.percent),
        roi=plain(margin.roi),
        roi_percent=plain(margin.roi_percent),
        currency=code,
        start_time=instant(start),
        end_time=instant(end),
    )


def _currency(asked: str | None, costs: Sequence[_Cost], revenue: Mapping[str, Decimal]) -> str:
    """The one currency of all amounts, or the one asked for."""
    if asked:
        return asked
    found = sorted({cost.price.currency for cost in costs} | {code for code, amount in revenue.items() if amount})
    if len(found) > 1:
        raise ValidationFailed.of("currency", f"is required: costs and revenue are in {', '.join(found)}")
    return found[0] if found else ""


async def _costs(
    session: AsyncSession,
    asked: GetCostAnalyticsRequest,
    sheet_id: str,
    start: datetime,
    end: datetime,
    now: datetime,
) -> list[_Cost]:
    """The cost of each metered price of the sheet that has usage, by the meter's name; unrounded."""
    meters = await meters_asked(session, asked.feature_ids)
    first: dict[str, Price] = {}
    for price in await sheets.costs_of(session, [sheet_id]):
        in_force = price.end_date is None or price.end_date > now
        meant = not asked.currency or price.currency == asked.currency
        if price.type is PriceType.USAGE and price.meter_id in meters and in_force and meant:
            first.setdefault(price.meter_id, price)
    customers: frozenset[str] | None = None
    if asked.external_customer_id:
        owner = (await owners_of(session, {asked.external_customer_id})).get(asked.external_customer_id)
        customers = frozenset({owner} if owner else ())
        if owner and asked.include_children:
            customers |= await children_of(session, owner, start, end)
    properties = conditions_of("property_filters", asked.property_filters)
    queries = [
        UsageQuery(meters[meter_id][1], start, end, customers, properties=properties, customers_are_ids=True)
        for meter_id in first
    ]
    bucketed = [query for query in queries if query.buckets]
    values = dict(zip((query.meter.id for query in bucketed), await buckets_of(session, bucketed), strict=True))
    costs: list[_Cost] = []
    for (meter_id, price), usage in zip(first.items(), await usage_of(session, queries), strict=True):
        if not usage.event_count and not usage.value:
            continue
        amount = (
            price_values(rated(price), [bucket.value for bucket in values[meter_id]])
            if meter_id in values
            else price_quantity(rated(price), usage.value)
        )
        costs.append(_Cost(meters[meter_id][0], price, usage.value, usage.event_count, amount))
    return sorted(costs, key=lambda cost: (cost.meter.name, cost.meter.id))


async def _revenue(
    session: AsyncSession, asked: GetCostAnalyticsRequest, start: datetime, end: datetime, now: datetime
) -> dict[str, Decimal]:
    """What the same usage is charged, by currency, after lasting discounts."""
    request = GetUsageAnalyticsRequest(
        feature_ids=asked.feature_ids, property_filters=asked.property_filters, start_time=start, end_time=end
    )
    total: dict[str, Decimal] = defaultdict(lambda: ZERO)
    async for charged in _charged(session, asked, start, end):
        for item in await charged_usage(session, request, charged, now):
            total[item.currency or ""] = EXACT.add(total[item.currency or ""], Decimal(item.total_cost))
    return total


async def _charged(
    session: AsyncSession, asked: GetCostAnalyticsRequest, start: datetime, end: datetime
) -> AsyncIterator[Sequence[ChargedItem]]:
    if asked.external_customer_id:
        children = bool(asked.include_children)
        owners = set((await owners_of(session, {asked.external_customer_id})).values())
        yield await items_of_customers(session, owners, start, end, children)
        return
    async for portion in all_items(session, start, end):
        yield portion


async def _answers(
    session: AsyncSession, asked: GetCostAnalyticsRequest, sheet_id: str, costs: Sequence[_Cost]
) -> list[CostAnalyticItem]:
    wanted = EXPANDABLE & set(asked.expand or ())
    prices: dict[str, PriceResponse] = {}
    if "price" in wanted:
        answers = await price_answers(session, [cost.price for cost in costs], frozenset())
        prices = {answer.id: answer for answer in answers}
    customer_id = None
    if asked.external_customer_id:
        customer_id = await session.scalar(
            select(Customer.id).where(
                Customer.external_id == asked.external_customer_id, Customer.status == Status.PUBLISHED
            )
        )
    return [
        CostAnalyticItem(
            meter_id=cost.meter.id,
            total_cost=plain(cost.amount),
            total_quantity=plain(cost.quantity),
            total_events=cost.events,
            currency=cost.price.currency,
            meter_name=cost.meter.name or None,
            customer_id=customer_id,
            external_customer_id=asked.external_customer_id or None,
            price_id=cost.price.id,
            costsheet_id=sheet_id,
            meter=_meter(cost.meter) if "meter" in wanted else None,
            price=prices.get(cost.price.id),
        )
        for cost in costs
    ]


def _meter(row: products.MeterRow) -> CostedMeter:
    answer = meter_answer(row)
    return CostedMeter.of(row, aggregation=answer.aggregation, filters=answer.filters)
