"""Monthly recurring revenue of subscriptions, and how it moves. Pure.

A subscription's life is cut where a fee, a discount or a pause begins or ends; between two cuts it is worth the same.
Each fee and each discount is rounded once, to two digits more than its currency has, and everything after is exact.
Rule: docs/rules/reporting.md#monthly-recurring-revenue
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from farthing.calendar.billing import MONTHS, BillingPeriod
from farthing.core import currency
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.totals.discounts import CouponType

MORE_DIGITS = 2
"""How many digits more than its currency a monthly amount keeps."""

_MONTHS_OF_A_WEEK = Fraction(84 * 100, 36525)
_MONTHS_OF_A_DAY = Fraction(12 * 100, 36525)


class MovementKind(StrEnum):
    """What made a customer's recurring revenue another between the ends of two days."""

    NEW = "new"
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    CHURN = "churn"
    REACTIVATION = "reactivation"


@dataclass(frozen=True, slots=True)
class ActiveTime:
    """A stretch `[start, end)` in which something holds; None is open."""

    start: datetime
    end: datetime | None

    def holds_at(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class MonthlyFee:
    """A recurring fee brought to a month, while its line item is valid. `plan_id` is that of the item, if a plan
    brought it."""

    item_id: str
    during: ActiveTime
    amount: Decimal
    plan_id: str | None = None


@dataclass(frozen=True, slots=True)
class MonthlyDiscount:
    """A lasting coupon: `off` is a percentage, or an amount brought to a month. `item_ids` None: all fees."""

    during: ActiveTime
    type: CouponType
    off: Decimal
    item_ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RecurringSubscription:
    """What recurring revenue a subscription stands for. `active` are the stretches in which it is active, in order;
    `discounts` stand in the order in which they are taken, those of single items first."""

    id: str
    customer_id: str
    plan_id: str
    currency: str
    active: tuple[ActiveTime, ...]
    fees: tuple[MonthlyFee, ...]
    discounts: tuple[MonthlyDiscount, ...] = ()


@dataclass(frozen=True, slots=True)
class RevenueChange:
    """From `at` on, a subscription on a plan is worth `by` more a month."""

    at: datetime
    subscription_id: str
    customer_id: str
    plan_id: str
    currency: str
    by: Decimal


@dataclass(frozen=True, slots=True)
class RevenueMovement:
    """What happened to a customer's revenue in one currency on one day; `amount` is above 0 whatever the kind."""

    at: datetime
    customer_id: str
    currency: str
    kind: MovementKind
    amount: Decimal


def months_of(period: BillingPeriod, count: int) -> Fraction:
    """How many months `count` periods last, a year being 365.25 days where days are counted."""
    match period:
        case BillingPeriod.WEEKLY:
            return _MONTHS_OF_A_WEEK * count
        case BillingPeriod.DAILY:
            return _MONTHS_OF_A_DAY * count
    return Fraction(MONTHS[period] * count)


def brought_to_a_month(amount: Decimal, period: BillingPeriod, count: int, code: str) -> Decimal:
    """An amount per `count` periods as a monthly one, rounded once."""
    return round_to(Fraction(amount) / months_of(period, count), currency.digits(code) + MORE_DIGITS)


def without_pauses(life: ActiveTime, pauses: Iterable[ActiveTime]) -> tuple[ActiveTime, ...]:
    """The stretches of a life outside its pauses."""
    stretches: list[ActiveTime] = []
    start: datetime | None = life.start
    for pause in sorted(pauses, key=lambda pause: pause.start):
        if start is None or (life.end is not None and pause.start >= life.end):
            break
        if pause.start > start:
            stretches.append(ActiveTime(start, pause.start))
        start = None if pause.end is None else max(start, pause.end)
    if start is not None and (life.end is None or start < life.end):
        stretches.append(ActiveTime(start, life.end))
    return tuple(stretches)


def revenue_at(subscription: RecurringSubscription, at: datetime) -> Decimal:
    """What a subscription is worth a month at an instant."""
    if not any(stretch.holds_at(at) for stretch in subscription.active):
        return ZERO
    left = {fee.item_id: fee.amount for fee in subscription.fees if fee.during.holds_at(at)}
    digits = currency.digits(subscription.currency) + MORE_DIGITS
    taken_off_all = ZERO
    for discount in subscription.discounts:
        if not discount.during.holds_at(at):
            continue
        reached = [item_id for item_id in left if discount.item_ids is None or item_id in discount.item_ids]
        base = exact_sum([left[item_id] for item_id in reached])
        if discount.item_ids is None:
            base = EXACT.subtract(base, taken_off_all)
        taken = _taken(discount, base, digits)
        if discount.item_ids is None:
            taken_off_all = EXACT.add(taken_off_all, taken)
            continue
        for item_id in reached:
            part = min(left[item_id], taken)
            left[item_id], taken = EXACT.subtract(left[item_id], part), EXACT.subtract(taken, part)
    return EXACT.subtract(exact_sum(list(left.values())), taken_off_all)


def _taken(discount: MonthlyDiscount, base: Decimal, digits: int) -> Decimal:
    if discount.type is CouponType.FIXED:
        return min(discount.off, base)
    return min(round_to(Fraction(base) * Fraction(discount.off) / 100, digits), base)


def changes_of(subscription: RecurringSubscription, until: datetime) -> Iterator[RevenueChange]:
    """Every change of what a subscription is worth, up to and including `until`; by plan, if the plan changed."""
    spans = (*subscription.active, *(fee.during for fee in subscription.fees))
    spans += tuple(discount.during for discount in subscription.discounts)
    cuts = sorted({edge for span in spans for edge in (span.start, span.end) if edge is not None and edge <= until})
    plan_id, worth = subscription.plan_id, ZERO
    for at in cuts:
        plan_now, worth_now = _plan_at(subscription, at), revenue_at(subscription, at)
        if plan_now != plan_id and worth:
            yield _change(subscription, at, plan_id, worth.copy_negate())
            worth = ZERO
        if worth_now != worth:
            yield _change(subscription, at, plan_now, EXACT.subtract(worth_now, worth))
        plan_id, worth = plan_now, worth_now


def _plan_at(subscription: RecurringSubscription, at: datetime) -> str:
    plans = (fee.plan_id for fee in subscription.fees if fee.plan_id and fee.during.holds_at(at))
    return next(plans, subscription.plan_id)


def _change(subscription: RecurringSubscription, at: datetime, plan_id: str, by: Decimal) -> RevenueChange:
    return RevenueChange(at, subscription.id, subscription.customer_id, plan_id, subscription.currency, by)


Owner = tuple[str, str]
"""A customer and a currency: whose revenue moves."""


def day_ends(changes: Iterable[RevenueChange], days: Sequence[datetime]) -> dict[Owner, list[tuple[int, Decimal]]]:
    """By customer and currency, the days on which revenue changed and what it is at the end of each.

    `days` are where days begin, in order; those on which nothing changed may be left out. What came before is day -1.
    """
    steps: defaultdict[Owner, defaultdict[int, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for change in sorted(changes, key=lambda change: change.at):
        owner, day = (change.customer_id, change.currency), bisect_right(days, change.at) - 1
        steps[owner][day] = EXACT.add(steps[owner][day], change.by)
    ends: dict[Owner, list[tuple[int, Decimal]]] = {}
    for owner, by_day in steps.items():
        total = ZERO
        ends[owner] = []
        for number, step in by_day.items():
            total = EXACT.add(total, step)
            ends[owner].append((number, total))
    return ends


def movements_of(
    ends: Mapping[Owner, Sequence[tuple[int, Decimal]]], days: Sequence[datetime]
) -> list[RevenueMovement]:
    """What happened on each day to each customer; nothing is told of what came before the first day.

    Whoever had revenue before the first day has had some, so that a later return is no first time.
    """
    movements = []
    for (customer_id, code), theirs in ends.items():
        had_some = False
        for (_, before), (day, after) in pairwise([(-2, ZERO), *theirs]):
            difference = EXACT.subtract(after, before)
            if difference and day >= 0:
                kind = _kind(before, after, had_some=had_some)
                movements.append(RevenueMovement(days[day], customer_id, code, kind, abs(difference)))
            had_some = had_some or after > 0
    return movements


def _kind(before: Decimal, after: Decimal, *, had_some: bool) -> MovementKind:
    if after == 0:
        return MovementKind.CHURN
    if before == 0:
        return MovementKind.REACTIVATION if had_some else MovementKind.NEW
    return MovementKind.EXPANSION if after > before else MovementKind.CONTRACTION


def value_before(theirs: Sequence[tuple[int, Decimal]], day: int) -> Decimal:
    """What a customer's revenue is when day `day` begins."""
    value = ZERO
    for number, after in theirs:
        if number >= day:
            break
        value = after
    return value
