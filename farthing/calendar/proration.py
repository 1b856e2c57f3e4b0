"""Which part of a price a part of a period costs: exact fractions, by elapsed time.

There is one strategy: elapsed time in UTC over elapsed time in UTC, so a day with a change of the clocks weighs 23 or
25 hours. Amounts multiply by the fraction and round once; the fraction itself is rounded only where it is shown (16
decimals). A slice of a period, such as a line item replaced half-way, is `slice.fraction_of(period)`.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from farthing.calendar.billing import Recurrence, natural_period_start, next_billing_date
from farthing.calendar.period import Period, elapsed_share


def coefficient(period: Period, at: datetime) -> Fraction:
    """The share of the service `period` that is left at `at`: 1 at its start or before, 0 at its end or later.

    Rule: docs/rules/proration.md#coefficient
    """
    if at <= period.start:
        return Fraction(1)
    if at >= period.end:
        return Fraction(0)
    return elapsed_share(period.end - at, period.duration)


def first_period_coefficient(first: Period, recurrence: Recurrence, item_start: datetime) -> Fraction:
    """The share of a whole period that a first, shorter one is charged for an item that starts at `item_start`.

    The whole is the natural period that ends where the first would without an end date (for count 1 that is the
    anchor); the share is what is left of it at the item's start, never above 1. An end date shortens nothing here.
    Only the first period of a subscription is ever prorated so.
    Rule: docs/rules/proration.md#first-period
    """
    end = next_billing_date(first.start, recurrence)
    return coefficient(Period(natural_period_start(end, recurrence), end), max(item_start, first.start))
