"""The books of recurring revenue: subscriptions, fees, pauses and coupons as they stand become changes of revenue.

What of a fee is a month's, and what a change counts as, is `monthly_revenue`.

Nothing is stored apart, so that a change made for a time gone by changes the figures of that time.
Rule: docs/rules/reporting.md#monthly-recurring-revenue
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, window_containing
from farthing.catalogue.discounts.attaching import AttachedCoupon, attached_to
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.redeeming import discount_of
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.core.event_loop.slices import collect
from farthing.core.money import EXACT, ZERO
from farthing.customers.tables import Customer
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import RatedPrice
from farthing.rating.totals.discounts import CouponType
from farthing.reporting.analytics.catalogue import CURRENCY, METADATA
from farthing.reporting.analytics.definition import Question, ReportCondition
from farthing.reporting.analytics.metrics.facts import Cells, Group, accumulated, require_few
from farthing.reporting.analytics.metrics.monthly_revenue import (
    ActiveTime,
    MonthlyDiscount,
    MonthlyFee,
    MovementKind,
    Owner,
    RecurringSubscription,
    RevenueChange,
    RevenueMovement,
    brought_to_a_month,
    changes_of,
    day_ends,
    movements_of,
    value_before,
    without_pauses,
)
from farthing.reporting.analytics.periods import Timeline
from farthing.reporting.analytics.schemas import AnalyticsFilterOperator
from farthing.reporting.turns import owner_of_reports
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.enums import LineItemOwner, PauseStatus, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.line_items.lineage import later_versions
from farthing.subscriptions.snapshot.loading import load
from farthing.subscriptions.snapshot.service_periods import counted_periods
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_RECURRING = (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED, SubscriptionStatus.CANCELLED)
"""States of subscriptions that stand for recurring revenue now, or did."""
_HAPPENED = (PauseStatus.ACTIVE, PauseStatus.COMPLETED)


@dataclass(frozen=True, slots=True)
class RevenueMovements:
    """What each customer's revenue was at the end of each of the `days` on which it changed, the customer's group, and
    how that moved."""

    ends: Mapping[Owner, Sequence[tuple[int, Decimal]]]
    groups: Mapping[Owner, Group]
    days: Sequence[datetime]
    movements: Sequence[RevenueMovement]


_Customers = Mapping[str, tuple[str, Mapping[str, str]]]
"""Countries and metadata by customer."""


@dataclass(slots=True)
class RecurringBooks:
    """Changes of revenue until `now`, read once for an answer, and what is known of the customers."""

    session: AsyncSession
    now: datetime
    _changes: list[RevenueChange] | None = None
    _customers: _Customers | None = None
    _matching: dict[Any, list[tuple[RevenueChange, dict[str, str]]]] = field(default_factory=dict)
    _movements: dict[Any, RevenueMovements] = field(default_factory=dict)

    async def changes(self) -> list[RevenueChange]:
        """Every change of every subscription, in the order of time."""
        if self._changes is None:
            subscriptions = await read_recurring(self.session)
            changes = (change for subscription in subscriptions for change in changes_of(subscription, self.now))
            found = await collect(changes, self.owner)
            self._changes = sorted(found, key=lambda change: change.at)
        return self._changes

    @property
    def owner(self) -> str:
        return owner_of_reports(self.session)

    async def matching(self, question: Question) -> list[tuple[RevenueChange, dict[str, str]]]:
        """The changes that a question is about, each with the values of the fields that it speaks of."""
        fields = question.fields | {CURRENCY}
        key = frozenset(fields), question.conditions, question.currency
        if key not in self._matching:
            changes = await self.changes()
            customers = await self._known_customers() if any(map(is_of_customer, fields)) else {}
            read = ((change, {name: _value(change, name, customers) for name in fields}) for change in changes)
            self._matching[key] = [
                (change, values)
                for change, values in await collect(read, self.owner)
                if (question.currency is None or change.currency == question.currency)
                and all(meets(condition, values[condition.field]) for condition in question.conditions)
            ]
        return self._matching[key]

    async def movements(self, question: Question) -> RevenueMovements:
        """How the revenue of the customers that a question is about moved, day by day."""
        key = question.conditions, question.currency, question.dimensions
        if key not in self._movements:
            self._movements[key] = await _read_movements(await self.matching(question), question, self.owner)
        return self._movements[key]

    async def _known_customers(self) -> _Customers:
        if self._customers is None:
            rows = await self.session.execute(select(Customer.id, Customer.address_country, Customer.meta))
            read = ((customer_id, (country, metadata)) for customer_id, country, metadata in rows)
            self._customers = dict(await collect(read, self.owner))
        return self._customers


def is_of_customer(name: str) -> bool:
    """Whether a field is one of the customer's, not of the subscription's."""
    return name == "country" or name.startswith(METADATA)


def _value(change: RevenueChange, name: str, customers: _Customers) -> str:
    if not is_of_customer(name):
        return str(getattr(change, name))
    country, metadata = customers.get(change.customer_id, ("", {}))
    return country if name == "country" else metadata.get(name.removeprefix(METADATA), "")


def meets(condition: ReportCondition, value: str) -> bool:
    """Whether a value is what a condition asks for."""
    match condition.operator:
        case AnalyticsFilterOperator.EQUAL | AnalyticsFilterOperator.IN:
            return value in condition.values
        case AnalyticsFilterOperator.NOT_IN:
            return value not in condition.values
        case AnalyticsFilterOperator.CONTAINS:
            return condition.values[0].lower() in value.lower()
        case AnalyticsFilterOperator.NOT_CONTAINS:
            return condition.values[0].lower() not in value.lower()
    raise AssertionError(f"{condition.operator} was refused before")


# figures


async def monthly_revenue(books: RecurringBooks, question: Question, timeline: Timeline) -> Cells:
    """Recurring revenue at the end of each bucket."""
    changes: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
    matching = await books.matching(question)

    def added_up() -> Iterator[None]:
        for change, values in matching:
            bucket = bisect_right(timeline.ends, change.at)
            if bucket == len(timeline.ends):
                break
            cell = bucket, tuple(values[dimension] for dimension in question.dimensions)
            changes[cell] = EXACT.add(changes[cell], change.by)
            yield

    await collect(added_up(), books.owner)
    return await accumulated(changes, len(timeline.ends), books.owner)


async def movements(books: RecurringBooks, question: Question, timeline: Timeline, kind: MovementKind) -> Cells:
    """What movements of one kind came to in each bucket."""
    moved = await books.movements(question)
    cells: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
    for movement in moved.movements:
        if movement.kind is kind and timeline.start <= movement.at < timeline.end:
            bucket = _bucket_of(timeline, movement.at)
            cell = bucket, moved.groups[movement.customer_id, movement.currency]
            cells[cell] = EXACT.add(cells[cell], movement.amount)
    require_few(cells)
    return cells


async def retained(books: RecurringBooks, question: Question, timeline: Timeline) -> tuple[Cells, Cells, Cells]:
    """Of the customers at the start of each bucket: their revenue then, at its end, and what of it was lost."""
    moved = await books.movements(question)
    before: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
    after: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
    lost: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
    numbers = [_day_of(moved.days, edge) for edge in timeline.edges]

    def added_up() -> Iterator[None]:
        for owner, theirs in moved.ends.items():
            for bucket in range(len(timeline.ends)):
                was, became = value_before(theirs, numbers[bucket]), value_before(theirs, numbers[bucket + 1])
                if was > 0:
                    cell = bucket, moved.groups[owner]
                    before[cell] = EXACT.add(before[cell], was)
                    after[cell] = EXACT.add(after[cell], became)
                    lost[cell] = EXACT.add(lost[cell], max(EXACT.subtract(was, became), ZERO))
            require_few(before)
            yield

    await collect(added_up(), books.owner)
    return before, after, lost


async def _read_movements(
    matching: Sequence[tuple[RevenueChange, Mapping[str, str]]], question: Question, owner_of_turn: str
) -> RevenueMovements:
    days = _days_of([change for change, _ in matching], question)
    groups: dict[Owner, Group] = {}
    by_owner: defaultdict[Owner, list[RevenueChange]] = defaultdict(list)
    ends: dict[Owner, Sequence[tuple[int, Decimal]]] = {}
    movements: list[RevenueMovement] = []

    def moved() -> Iterator[None]:
        for change, values in matching:
            owner = change.customer_id, change.currency
            groups[owner] = tuple(values[name] for name in question.dimensions)
            by_owner[owner].append(change)
            yield
        for changes in by_owner.values():
            theirs = day_ends(changes, days)
            ends.update(theirs)
            movements.extend(movements_of(theirs, days))
            yield

    await collect(moved(), owner_of_turn)
    return RevenueMovements(ends, groups, days, movements)


def _days_of(changes: Sequence[RevenueChange], question: Question) -> tuple[datetime, ...]:
    """Where the seller's days begin on which something changed, by time; nothing happens on the others."""
    days: list[Period] = []
    for change in changes:
        if not days or change.at >= days[-1].end:
            days.append(window_containing(change.at, WindowSize.DAY, question.range.zone))
    return tuple(day.start for day in days)


def _day_of(days: Sequence[datetime], edge: datetime) -> int:
    """The number of the first day that begins at `edge` or later."""
    return bisect_left(days, edge)


def _bucket_of(timeline: Timeline, at: datetime) -> int:
    return bisect_right(timeline.edges, at) - 1


# reading


async def read_recurring(session: AsyncSession) -> list[RecurringSubscription]:
    """Every subscription that stands for recurring revenue, or did, with its fees and lasting discounts."""
    row = Subscription
    rows = (
        await session.execute(
            select(
                row.id,
                row.customer_id,
                row.plan_id,
                row.currency,
                row.billing_period,
                row.billing_period_count,
                row.start_date,
                row.trial_end,
                row.end_date,
                row.cancel_at,
                row.subscription_status,
            ).where(
                row.status == Status.PUBLISHED,
                row.subscription_status.in_(_RECURRING),
                row.subscription_type != SubscriptionType.INHERITED,
            )
        )
    ).all()
    fees = await _fees(session)
    with_fees = [subscription for subscription in rows if subscription.id in fees]
    pauses = await _pauses(session)
    discounts = await _discounts(
        session, {s.id: (s.currency, s.billing_period, s.billing_period_count) for s in with_fees}
    )
    read = (
        RecurringSubscription(
            subscription.id,
            subscription.customer_id,
            subscription.plan_id,
            subscription.currency,
            _active(subscription, pauses.get(subscription.id, ())),
            tuple(fees[subscription.id]),
            tuple(discounts.get(subscription.id, ())),
        )
        for subscription in with_fees
    )
    return await collect(read, owner_of_reports(session))


def _active(subscription: Any, pauses: Iterable[ActiveTime]) -> tuple[ActiveTime, ...]:
    """From the start, or the end of the trial, until the end, without the pauses."""
    start = subscription.trial_end or subscription.start_date
    ends = [subscription.end_date]
    if subscription.subscription_status is not SubscriptionStatus.CANCELLED:
        ends.append(subscription.cancel_at)
    end = min((end for end in ends if end is not None), default=None)
    if end is not None and end <= start:
        return ()
    return without_pauses(ActiveTime(start, end), pauses)


async def _pauses(session: AsyncSession) -> dict[str, list[ActiveTime]]:
    row = SubscriptionPause
    found: defaultdict[str, list[ActiveTime]] = defaultdict(list)
    for subscription_id, start, end in await session.execute(
        select(row.subscription_id, row.pause_start, row.resumed_at).where(
            row.status == Status.PUBLISHED, row.pause_status.in_(_HAPPENED)
        )
    ):
        if end is None or end > start:
            found[subscription_id].append(ActiveTime(start, end))
    return found


async def _fees(session: AsyncSession) -> dict[str, list[MonthlyFee]]:
    """Recurring fees by subscription, each brought to a month by its price and its quantity."""
    item = SubscriptionLineItem
    rows = await session.execute(
        select(
            item.id,
            item.subscription_id,
            item.price_id,
            item.quantity,
            item.currency,
            item.billing_period,
            item.billing_period_count,
            item.start_date,
            item.end_date,
            item.entity_type,
            item.entity_id,
        )
        .where(
            item.status == Status.PUBLISHED,
            item.price_type == PriceType.FIXED,
            item.billing_period != BillingPeriod.ONETIME,
        )
        .order_by(item.start_date, item.id)
    )
    items = rows.all()
    prices = await _prices(session)
    amounts: dict[tuple[str, Decimal], Decimal] = {}
    fees: defaultdict[str, list[MonthlyFee]] = defaultdict(list)

    def read() -> Iterator[None]:
        for row in items:
            if row.end_date is None or row.end_date > row.start_date:
                key = row.price_id, row.quantity
                if key not in amounts:
                    cost = price_quantity(prices[row.price_id], row.quantity)
                    amounts[key] = brought_to_a_month(cost, row.billing_period, row.billing_period_count, row.currency)
                plan_id = row.entity_id if row.entity_type is LineItemOwner.PLAN else None
                during = ActiveTime(row.start_date, row.end_date)
                fees[row.subscription_id].append(MonthlyFee(row.id, during, amounts[key], plan_id))
            yield

    await collect(read(), owner_of_reports(session))
    return fees


async def _prices(session: AsyncSession) -> dict[str, RatedPrice]:
    """The fixed prices that line items are charged at; prices never change."""
    used = select(SubscriptionLineItem.price_id).where(
        SubscriptionLineItem.status == Status.PUBLISHED, SubscriptionLineItem.price_type == PriceType.FIXED
    )
    rows = await session.scalars(select(Price).where(Price.id.in_(used)))
    return {price.id: rated(price) for price in rows}


async def _discounts(
    session: AsyncSession, terms: Mapping[str, tuple[str, BillingPeriod, int]]
) -> dict[str, list[MonthlyDiscount]]:
    """Lasting coupons by subscription, those of single items first."""
    attached = {
        subscription_id: [coupon for coupon in coupons if coupon.coupon.cadence is not CouponCadence.ONCE]
        for subscription_id, coupons in (await attached_to(session, terms)).items()
    }
    everything = [coupon for coupons in attached.values() for coupon in coupons]
    if not everything:
        return {}
    targets = {coupon.association.subscription_line_item_id for coupon in everything} - {None}
    later = await later_versions(session, {target for target in targets if target}) if targets else {}
    counted = await _counted_windows(session, everything)
    found: dict[str, list[MonthlyDiscount]] = {}
    for subscription_id, coupons in attached.items():
        lasting = [
            discount
            for coupon in coupons
            if (discount := _discount(coupon, terms[subscription_id], later, counted)) is not None
        ]
        if lasting:
            found[subscription_id] = sorted(lasting, key=lambda discount: discount.item_ids is None)
    return found


def _discount(
    attached: AttachedCoupon,
    terms: tuple[str, BillingPeriod, int],
    later: Mapping[str, Sequence[str]],
    counted: Mapping[str, ActiveTime],
) -> MonthlyDiscount | None:
    association, coupon = attached.association, attached.coupon
    code, period, count = terms
    during = counted.get(association.id, ActiveTime(association.start_date, association.cut_at))
    start = max(during.start, association.start_date)
    end = min((end for end in (during.end, association.cut_at) if end is not None), default=None)
    if end is not None and end <= start:
        return None
    off = discount_of(coupon).off
    if coupon.type is CouponType.FIXED:
        if coupon.currency != code:
            return None
        off = brought_to_a_month(off, period, count, code)
    target = association.subscription_line_item_id
    items = None if target is None else frozenset((target, *later.get(target, ())))
    return MonthlyDiscount(ActiveTime(start, end), coupon.type, off, items)


async def _counted_windows(session: AsyncSession, attached: Sequence[AttachedCoupon]) -> dict[str, ActiveTime]:
    """When coupons for a number of periods discount, by association."""
    counted = [coupon for coupon in attached if coupon.coupon.cadence is CouponCadence.REPEATED]
    if not counted:
        return {}
    snapshots = await load(session, sorted({coupon.association.subscription_id for coupon in counted}))
    members = {member.id: member for snapshot in snapshots for member in (*snapshot.grouped, snapshot)}
    counted_windows = {}
    for coupon in counted:
        association, member = coupon.association, members.get(coupon.association.subscription_id)
        if association.counted_from is None or member is None:
            continue
        item = member.item(association.subscription_line_item_id or "")
        count = (coupon.coupon.duration_in_periods or 0) - association.periods_used
        period = counted_periods(member, item, association.counted_from, count)
        end = association.start_date if period is None else period.end
        start = association.start_date if period is None else period.start
        counted_windows[association.id] = ActiveTime(start, end)
    return counted_windows
