"""The service periods of a subscription and of its line items, one after the other. Pure.

Rule: docs/rules/discounts-and-taxes.md#service-periods
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile

from farthing.calendar.billing import BillingCycle
from farthing.calendar.period import Period
from farthing.calendar.recurring import stretched_periods
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


def service_periods(snapshot: SubscriptionSnapshot, item: LineItemSnapshot | None = None) -> Iterator[Period]:
    """The billing periods from the first that is paid for, pauses and all, whether or not an end cuts them; those of
    the item where it has longer ones of its own."""
    if item is not None and snapshot.has_longer_period(item):
        rhythm = snapshot.own_recurrence(item)
        return stretched_periods(rhythm.anchor, rhythm, snapshot.service_pauses)
    first = snapshot.first_paid_at
    moves_anchor = snapshot.cycle is BillingCycle.ANNIVERSARY
    return stretched_periods(first, snapshot.recurrence_at(first), snapshot.service_pauses, moves_anchor=moves_anchor)


def service_period_at(snapshot: SubscriptionSnapshot, item: LineItemSnapshot | None, at: datetime) -> Period:
    """The service period that holds `at`; before the first one, all the time until it begins."""
    last = None
    for period in takewhile(lambda period: period.start <= at, service_periods(snapshot, item)):
        last = period
    if last is not None:
        return last
    first = next(service_periods(snapshot, item))
    return Period(min(snapshot.start, at), first.start)


def counted_periods(
    snapshot: SubscriptionSnapshot, item: LineItemSnapshot | None, counted_from: datetime, count: int
) -> Period | None:
    """The time of `count` service periods, the first being that which begins at or after `counted_from`; None for no
    period."""
    if count < 1:
        return None
    start = end = None
    for period in service_periods(snapshot, item):
        if period.start < counted_from:
            continue
        start, end, count = start or period.start, period.end, count - 1
        if count == 0:
            break
    assert start is not None
    assert end is not None
    return Period(start, end)


def periods_begun(
    snapshot: SubscriptionSnapshot, item: LineItemSnapshot | None, counted_from: datetime, before: datetime
) -> int:
    """How many service periods have begun from `counted_from` until `before`, which is not included."""
    begun = takewhile(lambda period: period.start < before, service_periods(snapshot, item))
    return sum(period.start >= counted_from for period in begun)
