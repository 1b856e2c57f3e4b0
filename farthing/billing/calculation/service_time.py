"""Service time: what a fee pays for, measured apart from the window that pauses stretch and ends cut. Pure.

Rule: docs/rules/proration.md#service-time
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile

from farthing.calendar.billing import natural_period_start, next_billing_date
from farthing.calendar.period import MICROSECOND, Period, elapsed_share
from farthing.calendar.recurring import stretched_periods
from farthing.subscriptions.enums import ProrationBehavior
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot

NO_TIME = timedelta(0)

Pauses = tuple[tuple[datetime, datetime | None], ...]


@dataclass(frozen=True, slots=True)
class ServiceSpan:
    """A billing period as service time, before any end cuts it.

    The period begins at `start` and serves for `length`; a full fee pays for `whole`, which is longer than that for a
    first period that is the rest of a natural one. Time in `pauses` serves nothing; None ends a pause that goes on.
    """

    start: datetime
    length: timedelta
    whole: timedelta
    pauses: Pauses = ()

    @property
    def window(self) -> Period:
        """The period on the calendar: as much longer as the pauses that are over."""
        end = self.start + self.length
        for paused, back in self.pauses:
            if back is not None and self.start <= paused < end:
                end += back - paused
        return Period(self.start, end)

    def holds(self, at: datetime) -> bool:
        """Whether `at` lies in the period; one that is paused goes on until somebody resumes it."""
        if self.window.contains(at):
            return True
        waits = any(back is None and self.start <= paused <= self.window.end for paused, back in self.pauses)
        return waits and at >= self.start

    def consumed(self, at: datetime) -> timedelta:
        """The service time before `at`, at most that of the period."""
        return self._before(at, self.pauses)

    def planned(self, until: datetime | None) -> timedelta:
        """The service time before an end to come, None for no end; a pause that goes on is taken to end at once."""
        if until is None:
            return self.length
        return self._before(until, tuple((paused, back) for paused, back in self.pauses if back is not None))

    def between(self, since: datetime, until: datetime | None) -> timedelta:
        """The service time from `since` until an end to come; None for no end."""
        return max(self.planned(until) - self.consumed(since), NO_TIME)

    def share(self, service: timedelta) -> Fraction:
        """The part of a full fee that pays for an amount of service time."""
        return elapsed_share(service, self.whole)

    def _before(self, at: datetime, pauses: Pauses) -> timedelta:
        if at <= self.start:
            return NO_TIME
        served = at - self.start
        for paused, back in pauses:
            since, until = max(paused, self.start), at if back is None else min(back, at)
            served -= max(until - since, NO_TIME)
        return min(served, self.length)


def period_span(snapshot: SubscriptionSnapshot, period: Period) -> ServiceSpan:
    """A billing period of a subscription as service time, whether or not the subscription's end cuts it.

    Rule: docs/rules/proration.md#first-period
    """
    pauses = snapshot.service_pauses
    cut = snapshot.ends_at is not None and period.end >= snapshot.ends_at
    # a subscription that ended while it was paused: the pause is over, and has not stretched the period
    overhung = any(back is not None and period.start <= paused <= period.end < back for paused, back in pauses)
    if cut or overhung:
        length = next_billing_date(period.start, snapshot.recurrence_at(period.start)) - period.start
    else:
        length = period.duration
        for paused, back in pauses:
            stopped = None if back is None else period.clip(paused, back)
            length -= NO_TIME if stopped is None else stopped.duration
    whole = length
    if snapshot.proration is ProrationBehavior.CREATE_PRORATIONS and period.start == snapshot.first_paid_at:
        recurrence = snapshot.recurrence_at(period.start)
        end = next_billing_date(period.start, recurrence)
        whole = max(length, end - natural_period_start(end, recurrence))
    return ServiceSpan(period.start, length, whole, pauses)


def following_period(snapshot: SubscriptionSnapshot, end: datetime) -> Period:
    """The period that begins where one ends: as long as the pauses in it have made it, and up to the end at most."""
    natural = next_billing_date(end, snapshot.recurrence_at(end))
    window = ServiceSpan(end, natural - end, natural - end, snapshot.service_pauses).window
    last = window.end if snapshot.end is None else min(window.end, snapshot.end)
    return Period(end, last)


def own_spans(snapshot: SubscriptionSnapshot, item: LineItemSnapshot) -> Iterator[ServiceSpan]:
    """The longer periods of an item's own, one after the other; a pause stretches the one in which it begins."""
    rhythm = snapshot.own_recurrence(item)
    pauses = snapshot.service_pauses
    for own in stretched_periods(rhythm.anchor, rhythm, pauses):
        begun = [(paused, back) for paused, back in pauses if back is not None and own.start <= paused < own.end]
        length = own.duration - sum((back - paused for paused, back in begun), NO_TIME)
        yield ServiceSpan(own.start, length, length, pauses)


def service_span(snapshot: SubscriptionSnapshot, item: LineItemSnapshot, at: datetime) -> ServiceSpan | None:
    """The service period of the item that holds `at`: the subscription's open one, or the item's own longer one."""
    if not snapshot.has_longer_period(item):
        span = period_span(snapshot, snapshot.full_period)
        return span if span.holds(at) else None
    begun = takewhile(lambda span: span.start <= at, own_spans(snapshot, item))
    return next((span for span in begun if span.holds(at)), None)


def charged_until(snapshot: SubscriptionSnapshot, item: LineItemSnapshot) -> datetime | None:
    """Up to when an item's fee is charged by its share; None when the fee is whole.

    An item that ends by itself is charged up to there. Where the subscription's end cuts it, its fee is whole unless
    that end prorates.
    """
    ends = snapshot.ends_at
    if item.end is not None and (ends is None or item.end < ends):
        return item.end
    return ends if snapshot.prorates_end else None


def seconds_of(service: timedelta) -> Decimal:
    """Service time as lines and settlements keep it, exact to the microsecond."""
    return Decimal(service // MICROSECOND).scaleb(-6)


def service_of(seconds: Decimal) -> timedelta:
    """Service time that a line or a settlement keeps."""
    return int(seconds.scaleb(6)) * MICROSECOND
