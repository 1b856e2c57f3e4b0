"""A subscription's dates as the calendar knows them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from farthing.calendar.billing import BillingPeriod, Recurrence
from farthing.calendar.period import Period
from farthing.subscriptions.tables import Subscription


def recurrence(subscription: Subscription) -> Recurrence:
    """The rhythm of its billing periods."""
    return Recurrence(
        BillingPeriod(subscription.billing_period),
        subscription.billing_anchor,
        ZoneInfo(subscription.timezone),
        subscription.billing_period_count,
    )


def open_period(subscription: Subscription) -> Period:
    """The period that is open, from where threshold invoices have brought it."""
    return Period(subscription.current_period_start, subscription.current_period_end)


def effective_end(subscription: Subscription) -> datetime | None:
    """When it ends, as far as is known: its end date or a cancellation to come, whichever is first."""
    ends = [at for at in (subscription.cancel_at, subscription.end_date) if at is not None]
    return min(ends, default=None)


def open_at(subscription: Subscription, period: Period) -> None:
    """Make `period` the open one; threshold invoices start afresh."""
    subscription.current_period_start = subscription.full_period_start = period.start
    subscription.current_period_end = period.end
