"""What recurs or shifts beside the billing periods: longer item periods, usage resets, commitments, trials, pauses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo

from farthing.calendar.billing import (
    DAY,
    BillingCycle,
    BillingPeriod,
    InvoiceCadence,
    Recurrence,
    next_billing_date,
    periods_from,
)
from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, windows
from farthing.calendar.zones import UTC, to_local, to_utc
from farthing.core.errors import ValidationFailed

SECOND = timedelta(seconds=1)


class UsageReset(StrEnum):
    """When an entitlement's free quantity starts afresh."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    NEVER = "NEVER"


def item_period_for(
    item_start: datetime, recurrence: Recurrence, window: Period, cadence: InvoiceCadence
) -> Period | None:
    """The longer period of a line item that is charged with the billing period `window`; None when none is.

    Item periods run from `item_start` on the item's own `recurrence` (anchored there). In advance, the one that
    starts in `[start, end)` of the window is charged; in arrear, the one that ends in `(start, end]`.
    Rule: docs/rules/calendar.md#periods-of-longer-items
    """
    for period in takewhile(lambda period: period.start < window.end, periods_from(item_start, recurrence)):
        if cadence is InvoiceCadence.ADVANCE and period.start >= window.start:
            return period
        if cadence is InvoiceCadence.ARREAR and window.start < period.end <= window.end:
            return period
    return None


def reset_windows(
    reset: UsageReset | None,
    billing: Period,
    recurrence: Recurrence,
    subscription_start: datetime,
    span: Period,
    pauses: Sequence[tuple[datetime, datetime | None]] = (),
) -> list[Period]:
    """The usage reset windows that overlap `span`, in order, with their full bounds.

    `billing` is the billing period that holds `span` and `recurrence` the subscription's own, with the anchor that it
    had before the `pauses` that have moved it. None, or the subscription's own kind with count 1, is the billing period
    itself; DAILY and WEEKLY are local days and weeks from Monday; longer kinds run from the subscription's start on its
    anchor, and a pause makes the one it begins in longer. NEVER is one window from the subscription's
    start; it has no end, and is given here as ending with `span`.
    Rule: docs/rules/entitlements.md#reset-windows
    """
    if reset is UsageReset.NEVER:
        return [Period(subscription_start, span.end)]
    if reset is None or (reset.value == recurrence.period.value and recurrence.count == 1):
        return [billing]
    if reset is UsageReset.DAILY:
        return list(windows(span, WindowSize.DAY, recurrence.zone))
    if reset is UsageReset.WEEKLY:
        return list(windows(span, WindowSize.WEEK, recurrence.zone))
    own = replace(recurrence, period=BillingPeriod(reset.value), count=1)
    stretched = stretched_periods(subscription_start, own, pauses)
    until_span_ends = takewhile(lambda window: window.start < span.end, stretched)
    return [window for window in until_span_ends if window.end > span.start]


def stretched_periods(
    start: datetime,
    recurrence: Recurrence,
    pauses: Sequence[tuple[datetime, datetime | None]],
    *,
    moves_anchor: bool = True,
) -> Iterator[Period]:
    """The periods from `start` on, each longer by the pauses that begin in it, as a pause does with billing periods.

    A pause moves the anchor too, unless the boundaries are those of the calendar.
    """
    while True:
        end = next_billing_date(start, recurrence)
        for paused, back in pauses:
            if back is not None and start <= paused < end:
                end += back - paused
                if moves_anchor:
                    recurrence = replace(recurrence, anchor=moved_anchor(recurrence, back - paused, end))
        yield Period(start, end)
        start = end


def commitment_window(
    subscription_start: datetime, duration: BillingPeriod, at: datetime, zone: ZoneInfo = UTC
) -> Period:
    """The cumulative commitment's window that holds `at`: windows of `duration` follow one another from the start.

    `at` is the start of the billing period in question and must not precede the subscription's. Raises ValueError if
    it does.
    Rule: docs/rules/commitments.md#cumulative
    """
    if at < subscription_start:
        raise ValueError(f"{at} precedes the first commitment window, which starts at {subscription_start}")
    recurrence = Recurrence(duration, subscription_start, zone)
    return next(window for window in periods_from(subscription_start, recurrence) if at < window.end)


def closes_window(billing: Period, window: Period) -> bool:
    """Whether the invoice of `billing` is the one that reaches the end of the commitment window: it owes true-up."""
    return billing.start < window.end <= billing.end


def trial_days(requested: int | None, price_days: Sequence[int]) -> int:
    """How long a trial is: as requested (0 is none), else what all the plan's recurring fixed prices agree on.

    Raises ValidationFailed for a negative request and when the prices disagree.
    Rule: docs/rules/calendar.md#trial-days
    """
    if requested is not None:
        if requested < 0:
            raise ValidationFailed.of("trial_period_days", f"must not be negative, not {requested}")
        return requested
    if len(set(price_days)) > 1:
        raise ValidationFailed.of(
            "trial_period_days",
            f"is needed: the plan's prices disagree ({', '.join(map(str, sorted(set(price_days))))})",
        )
    return price_days[0] if price_days else 0


def trial_window(start: datetime, days: int, zone: ZoneInfo = UTC) -> Period | None:
    """The trial: `days` calendar days in `zone`, up to the same clock to the second; None for no days."""
    if days == 0:
        return None
    return Period(start, to_utc(to_local(start, zone).replace(microsecond=0) + days * DAY, zone))


def moved_anchor(recurrence: Recurrence, by: timedelta, boundary: datetime) -> datetime:
    """The anchor after a pause as long as `by` has moved the end of the open period to `boundary`.

    It moves alike; where months of other lengths, or another offset of the zone, would put the boundary beside the
    moved rhythm, the boundary is the anchor: the period that begins there always has its full length.
    Rule: docs/rules/calendar.md#pauses-and-dates
    """
    moved = replace(recurrence, anchor=recurrence.anchor + by)
    second = boundary.replace(microsecond=0)
    return moved.anchor if next_billing_date(second - SECOND, moved) == second else boundary


def shift_for_pause(
    current: Period, recurrence: Recurrence, cycle: BillingCycle, pause_start: datetime, resumed_at: datetime
) -> tuple[Period, datetime]:
    """The open period and the anchor after a pause: the period's end moves by the pause's elapsed time, and an
    anniversary's anchor with it, so that the next period has its full length; a calendar's boundaries stay.

    A pause that had not begun when it was resumed shifts nothing.
    Rule: docs/rules/calendar.md#pauses-and-dates
    """
    if resumed_at <= pause_start:
        return current, recurrence.anchor
    paused = resumed_at - pause_start
    shifted = Period(current.start, current.end + paused)
    if cycle is not BillingCycle.ANNIVERSARY:
        return shifted, recurrence.anchor
    return shifted, moved_anchor(recurrence, paused, shifted.end)
