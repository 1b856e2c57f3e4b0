"""What a subscription's usage costs so far.

The same calculation as on invoices; nothing is written. Figures are decimals up to the edge, where the wire wants
numbers.
Rule: docs/rules/billing.md#usage-so-far
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import bill
from farthing.billing.calculation.draft import DraftLine
from farthing.billing.periods.inputs import GatheredInput, GatheredParts, InvoiceRequest, gather
from farthing.calendar.period import Period
from farthing.catalogue.answers.prices import price_answers
from farthing.catalogue.answers.schemas import PriceResponse
from farthing.catalogue.fields import Id
from farthing.catalogue.prices.display import display, symbol
from farthing.catalogue.prices.tables import Price
from farthing.core.clock import instant
from farthing.core.encoding.wire import Moment, Request, Response, Timestamp, json_number
from farthing.core.enums import LineKind
from farthing.core.errors import ValidationFailed
from farthing.core.money import ZERO, exact_sum
from farthing.events.requests import past
from farthing.storage.queries.rows import find
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.tables import Subscription


class GetUsageBySubscriptionRequest(Request):
    """Which usage to price; that of the open period by default."""

    subscription_id: Id
    start_time: Moment | None = None
    end_time: Moment | None = None
    lifetime_usage: bool = False


class SubscriptionUsageByMetersResponse(Response):
    """One usage charge; figures are numbers."""

    subscription_line_item_id: str
    amount: float
    currency: str
    display_amount: str
    quantity: float
    filter_values: dict[str, list[str]]
    meter_id: str
    meter_display_name: str
    is_overage: bool
    price: PriceResponse | None = None
    overage_factor: float | None = None


class GetUsageBySubscriptionResponse(Response):
    """What usage costs; figures are numbers, and those of a commitment are left out without one."""

    amount: float
    currency: str
    display_amount: str
    start_time: Timestamp
    end_time: Timestamp
    charges: list[SubscriptionUsageByMetersResponse]
    has_overage: bool
    commitment_amount: float | None = None
    overage_factor: float | None = None
    commitment_utilized: float | None = None
    overage_amount: float | None = None


async def priced_usages(
    session: AsyncSession, periods: Mapping[str, Period], now: datetime
) -> Mapping[str, list[DraftLine]]:
    """By subscription the usage lines of a period as an invoice would have them, nothing trued up. Raises NotFound."""
    gathered = await _measured(session, periods, now)
    return {
        subscription_id: list(bill(found.work, found.known).lines)
        for subscription_id, found in zip(periods, gathered, strict=True)
    }


async def _measured(session: AsyncSession, periods: Mapping[str, Period], now: datetime) -> list[GatheredInput]:
    requests = [
        InvoiceRequest(subscription_id, InvoiceTrigger.THRESHOLD, period, repeats=True)
        for subscription_id, period in periods.items()
    ]
    return await gather(session, requests, now, GatheredParts.CHARGES)


async def usage_of(
    session: AsyncSession, asked: GetUsageBySubscriptionRequest, now: datetime
) -> GetUsageBySubscriptionResponse:
    """Price the usage of a subscription. Raises NotFound, ValidationFailed."""
    subscription = await find(session, Subscription, asked.subscription_id)
    start = asked.start_time or (subscription.start_date if asked.lifetime_usage else subscription.full_period_start)
    # all there ever was is nothing before the start, and includes what came just now
    until = past(max(now, start)) if asked.lifetime_usage else subscription.current_period_end
    end = asked.end_time or until
    if end <= start:
        if asked.end_time is None:
            raise ValidationFailed.of("start_time", f"must be before {instant(end)}, the end of the open period")
        raise ValidationFailed.of("end_time", "must be after start_time")
    (gathered,) = await _measured(session, {subscription.id: Period(start, end)}, now)
    lines = bill(gathered.work, gathered.known).lines
    wanted = {line.item.price_id for line in lines if line.item is not None}
    rows = (await session.scalars(select(Price).where(Price.id.in_(wanted)))).all()
    prices = {price.id: price for price in await price_answers(session, rows, frozenset())}
    commitment = gathered.work.snapshot.commitment
    code = subscription.currency
    over = [line for line in lines if line.kind is LineKind.OVERAGE]
    total = exact_sum([line.amount for line in lines])
    within = exact_sum([line.amount for line in lines if line.kind is LineKind.USAGE])
    answer = GetUsageBySubscriptionResponse(
        amount=json_number(total),
        currency=code,
        display_amount=display(total, symbol(code)),
        start_time=instant(start),
        end_time=instant(end),
        charges=[_charge(line, code, prices) for line in lines],
        has_overage=bool(over),
    )
    if commitment is not None:
        answer.commitment_amount = json_number(commitment.amount)
        answer.overage_factor = json_number(commitment.overage_factor)
        answer.commitment_utilized = _number(within)
        answer.overage_amount = _number(exact_sum([line.amount for line in over]))
    return answer


def _number(amount: Decimal) -> Any:
    return None if amount == ZERO else json_number(amount)


def _charge(line: DraftLine, code: str, prices: dict[str, PriceResponse]) -> SubscriptionUsageByMetersResponse:
    item = line.item
    overage = line.kind is LineKind.OVERAGE
    return SubscriptionUsageByMetersResponse(
        subscription_line_item_id="" if item is None else item.id,
        amount=json_number(line.amount),
        currency=code,
        display_amount=display(line.amount, symbol(code)),
        quantity=json_number(line.quantity),
        filter_values={},
        meter_id="" if item is None else item.meter_id or "",
        meter_display_name="" if item is None else item.meter_display_name,
        price=None if item is None else prices.get(item.price_id),
        is_overage=overage,
        overage_factor=None if line.overage_factor is None else json_number(line.overage_factor),
    )
