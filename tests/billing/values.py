"""Subscriptions and line items as values, for rules that need no database."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from farthing.calendar.billing import BillingCycle, BillingPeriod, InvoiceCadence, Recurrence
from farthing.calendar.period import Period
from farthing.core.enums import PriceType
from farthing.rating.pricing.price import RatedPrice
from farthing.subscriptions.enums import (
    CollectionMethod,
    LineItemOwner,
    PaymentBehavior,
    ProrationBehavior,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot, UsageCustomer


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(start: str, end: str) -> Period:
    return Period(at(start), at(end))


def item(
    amount: str,
    quantity: str = "1",
    *,
    start: str,
    end: str | None = None,
    id: str = "item",
    period: BillingPeriod = BillingPeriod.MONTHLY,
    count: int = 1,
    cadence: InvoiceCadence = InvoiceCadence.ADVANCE,
    price: RatedPrice | None = None,
    currency: str = "usd",
    **more: Any,
) -> LineItemSnapshot:
    return LineItemSnapshot(
        id=id,
        subscription_id="subs",
        customer_id="cust",
        entity_type=LineItemOwner.PLAN,
        entity_id="plan",
        plan_display_name="Plan",
        display_name="Seats",
        price_id="price",
        price=price or RatedPrice.flat(Decimal(amount)),
        price_type=PriceType.FIXED,
        min_quantity=None,
        group_id=None,
        meter_id=None,
        meter_display_name="",
        quantity=Decimal(quantity),
        currency=currency,
        billing_period=period,
        billing_period_count=count,
        cadence=cadence,
        start=at(start),
        end=None if end is None else at(end),
        **more,
    )


def subscription(
    current: Period,
    *items: LineItemSnapshot,
    start: str | None = None,
    anchor: str | None = None,
    period: BillingPeriod = BillingPeriod.MONTHLY,
    count: int = 1,
    zone: str = "UTC",
    end: str | None = None,
    proration: ProrationBehavior = ProrationBehavior.NONE,
    currency: str = "usd",
    **more: Any,
) -> SubscriptionSnapshot:
    began = current.start if start is None else at(start)
    return SubscriptionSnapshot(
        id="subs",
        customer_id="cust",
        payer_id="cust",
        invoicing_customer_id=None,
        parent_id=None,
        plan_id="plan",
        plan_name="Plan",
        status=SubscriptionStatus.ACTIVE,
        type=SubscriptionType.STANDALONE,
        currency=currency,
        recurrence=Recurrence(period, began if anchor is None else at(anchor), ZoneInfo(zone), count),
        cycle=BillingCycle.ANNIVERSARY,
        start=began,
        end=None if end is None else at(end),
        current=current,
        full_period_start=current.start,
        trial=None,
        cancel_at=None,
        cancel_at_period_end=False,
        cancelled_at=None,
        commitment=None,
        threshold=None,
        proration=proration,
        end_proration=None,
        payment_behavior=PaymentBehavior.DEFAULT_ACTIVE,
        collection_method=CollectionMethod.CHARGE_AUTOMATICALLY,
        payment_method_id="",
        payment_terms=None,
        invoices_begun=0,
        version=1,
        metadata={},
        items=tuple(items),
        addons=(),
        entitled=(),
        usage_customers=(UsageCustomer("cust", "ext", began, None),),
        pauses=(),
        **more,
    )
