"""What a customer uses: each feature by day, what is left of what is included, what it comes to, and the next invoice.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from litestar import Controller, Response, get
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal
from farthing.billing.calculation.draft import DraftLine
from farthing.billing.reads.usage_so_far import priced_usages
from farthing.calendar.period import Period
from farthing.calendar.zones import zone
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.tables import MeterRow
from farthing.core.clock import Clock
from farthing.core.currency import digits
from farthing.core.encoding.times import read_time
from farthing.core.enums import PriceType, Status
from farthing.core.money import ZERO, exact_sum, round_to
from farthing.customers.tables import Customer
from farthing.events.ingest.meters import meter_of
from farthing.events.requests import past
from farthing.metering.meter import AggregationType
from farthing.reporting.feature_usage import FeatureUsageSummary, usage_summary
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.overview import usage
from farthing.web.dashboard.subscriptions.forms.consequences import NextInvoice, next_invoice
from farthing.web.portal.visit.session import PortalVisit, customer_of, in_path, visit_of
from farthing.web.portal.visit.showing import portal_page
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.charts import Bar
from farthing.web.rendering.languages import LocalWords

LIVE = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAUSED)
MOST_SUBSCRIPTIONS = 5
_MOST_DAYS = 92
_GROWING = frozenset({AggregationType.COUNT, AggregationType.SUM, AggregationType.SUM_WITH_MULTIPLIER})
"""Usage that adds up over time: what it comes to is projected; a level or a maximum is not."""
_SHORTEST_ELAPSED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ProjectedCharge:
    """What the usage of a charge comes to: so far, and at the period's end if it goes on so (None: too early)."""

    name: str
    so_far: Decimal
    projected: Decimal | None


@dataclass(frozen=True, slots=True)
class SubscriptionOutlook:
    """What a subscription's usage comes to in the open period, and its next invoice."""

    subscription: Subscription
    plan: str
    period: Period
    charges: Sequence[ProjectedCharge]
    following: NextInvoice

    @property
    def so_far(self) -> Decimal:
        return exact_sum([charge.so_far for charge in self.charges])

    @property
    def projected(self) -> Decimal | None:
        known = [charge.projected for charge in self.charges if charge.projected is not None]
        return exact_sum(known) if len(known) == len(self.charges) else None


@dataclass(frozen=True, slots=True)
class DrawnUsage:
    """A feature by day, with bars that speak the reader's language."""

    usage: usage.FeatureUsage
    bars: Sequence[Bar]


class PortalUsage(Controller):
    """Usage of one customer; the address is the credential."""

    path = "/portal/{token:str}/usage"
    include_in_schema = False

    @get("/", guards=[in_path("usage")])
    async def show(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """The open period: by day, against what is included, priced and projected, and the invoice that comes."""
        now, visit = clock.now(), visit_of(request)
        customer = await customer_of(session, visit)
        subscriptions = await live_subscriptions(session, visit)
        start = min((row.current_period_start for row in subscriptions if row.customer_id == customer.id), default=None)
        features = await _used(session, customer, start, now)
        included = (await usage_summary(session, customer, None, [], now)).features
        return portal_page(
            request,
            "portal/usage.html",
            customer=customer,
            has_period=start is not None,
            features=[_drawn(feature, visit.words) for feature in features],
            included=[summary for summary in included if summary.feature.type is FeatureType.METERED],
            left=_left,
            resets_at=_resets_at,
            outlooks=await _outlooks(
                request, session, [row for row in subscriptions if row.payer_id == customer.id], now
            ),
        )


async def live_subscriptions(session: AsyncSession, visit: PortalVisit) -> Sequence[Subscription]:
    """The subscriptions that the customer has or pays for, newest first; at most 20."""
    table = Subscription
    rows = await session.scalars(
        select(table)
        .where(
            or_(table.customer_id == visit.customer_id, table.payer_id == visit.customer_id),
            table.status == Status.PUBLISHED,
            table.subscription_status.in_(LIVE),
        )
        .order_by(table.created_at.desc())
        .limit(20)
    )
    return rows.all()


async def plan_names(session: AsyncSession, subscriptions: Sequence[Subscription]) -> dict[str, str]:
    """The names of the subscriptions' plans, by plan."""
    ids = {row.plan_id for row in subscriptions}
    return dict((await session.execute(select(Plan.id, Plan.name).where(in_array(Plan.id, ids)))).all())


def projected_amount(so_far: Decimal, period: Period, now: datetime, currency: str) -> Decimal | None:
    """What an amount comes to at the period's end if it goes on growing as until `now`: times whole by elapsed period.

    Rounded to the currency; None before a day of the period has passed.
    """
    elapsed = min(now, period.end) - period.start
    if elapsed < _SHORTEST_ELAPSED:
        return None
    share = Fraction(elapsed // timedelta(microseconds=1), (period.end - period.start) // timedelta(microseconds=1))
    return round_to(Fraction(so_far) / share, digits(currency))


async def _outlooks(
    request: HttpRequest, session: AsyncSession, subscriptions: Sequence[Subscription], now: datetime
) -> list[SubscriptionOutlook]:
    shown = [
        row
        for row in subscriptions
        if row.subscription_status is not SubscriptionStatus.PAUSED and row.full_period_start <= now
    ][:MOST_SUBSCRIPTIONS]
    if not shown:
        return []
    periods = {row.id: Period(row.full_period_start, row.current_period_end) for row in shown}
    until_now = {row.id: Period(row.full_period_start, min(past(now), row.current_period_end)) for row in shown}
    lines = await priced_usages(session, until_now, now)
    meters = await _growing_meters(session, [line for each in lines.values() for line in each])
    names = await plan_names(session, shown)
    async with rehearsal(request) as undone:
        return [
            SubscriptionOutlook(
                row,
                names.get(row.plan_id, ""),
                periods[row.id],
                _charges(row, lines[row.id], meters, periods[row.id], now),
                await next_invoice(undone, row.id, now),
            )
            for row in shown
        ]


async def _growing_meters(session: AsyncSession, lines: Sequence[DraftLine]) -> set[str]:
    ids = {line.item.meter_id for line in lines if line.item is not None and line.item.meter_id}
    rows = await session.scalars(select(MeterRow).where(in_array(MeterRow.id, ids)))
    return {row.id for row in rows if meter_of(row).aggregation.type in _GROWING}


def _charges(
    subscription: Subscription, lines: Sequence[DraftLine], growing: set[str], period: Period, now: datetime
) -> list[ProjectedCharge]:
    amounts: dict[tuple[str, bool], Decimal] = {}
    for line in lines:
        if line.price_type is PriceType.USAGE:
            grows = line.item is None or line.item.meter_id in growing
            key = (line.display_name, grows)
            amounts[key] = amounts.get(key, ZERO) + line.amount
    return [
        ProjectedCharge(name, amount, projected_amount(amount, period, now, subscription.currency) if grows else amount)
        for (name, grows), amount in amounts.items()
    ]


async def _used(
    session: AsyncSession, customer: Customer, start: datetime | None, now: datetime
) -> list[usage.FeatureUsage]:
    """Usage since the open period began; without a subscription, in the last 30 days. At most a quarter is drawn."""
    days = usage.DAYS if start is None else min(max((now - start).days + 1, 1), _MOST_DAYS)
    return await usage.by_feature(session, [customer.id], now, zone(customer.timezone), days=days)


def _drawn(feature: usage.FeatureUsage, words: LocalWords) -> DrawnUsage:
    bars = [
        Bar(words.short_day(day), value, f"{words.short_day(day)}: {words.number(value)} {feature.unit}".rstrip())
        for day, value in feature.days
    ]
    return DrawnUsage(feature, bars)


def _resets_at(summary: FeatureUsageSummary) -> datetime | None:
    return None if summary.next_usage_reset_at is None else read_time(str(summary.next_usage_reset_at))


def _left(summary: FeatureUsageSummary) -> Decimal:
    """What is left of what is included; nothing once it is used up."""
    return max(Decimal(summary.total_limit or 0) - Decimal(summary.current_usage), ZERO)
