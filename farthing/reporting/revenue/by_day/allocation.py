"""How a line is spread over days. Pure.

Usage lies on the days of its events, by the difference of what it costs through each day and the day before. What is
charged for a whole period lies on the day on which it is booked, or evenly on each of its days. The last day takes the
rounding, so that the days add up to the line.
Rule: docs/rules/reporting.md#days-of-a-line
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from farthing.calendar.zones import to_local
from farthing.core.money import EXACT, ZERO, share
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.revenue.figures import RevenueFigures, figures_of_usage, list_rate

_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


class AllocationPolicy(StrEnum):
    """Where an amount for a whole period lies: on the day on which it is booked, or on all of its days."""

    BILLED = "billed"
    AMORTIZED = "amortized"


@dataclass(frozen=True, slots=True)
class DayPart:
    """What a line earns on one day. `is_allocated`: an amount for a whole period of which a rule said so."""

    day: date
    figures: RevenueFigures
    is_allocated: bool


@dataclass(frozen=True, slots=True)
class UsageThrough:
    """How much of a line's usage had come by the end of a day; `cost` is what it costs until then, if that is known
    otherwise than by the quantity."""

    day: date
    usage: Decimal
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Recognized:
    """An amount that is recognized on a day."""

    day: date
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DaysInARow:
    """So many days from the first on."""

    first: date
    count: int

    def part_between(self, first: date, after: date) -> range:
        """Which of them, counted from 0, lie between `first` and the day before `after`."""
        return range(max((first - self.first).days, 0), min((after - self.first).days, self.count))


def days_of(start: datetime, end: datetime, zone: ZoneInfo) -> DaysInARow:
    """The days of a period: as many as lie between the dates of its ends, at least one, from the first on."""
    first = to_local(start, zone).date()
    last = to_local(max(end - _INSTANT, start), zone).date()
    count = max((to_local(end, zone).date() - first).days, 1)
    return DaysInARow(first, min(count, (last - first).days + 1))


def amounts_evenly(
    net: Decimal, days: DaysInARow, digits: int, edges: Sequence[date] | None = None
) -> Iterator[Recognized]:
    """What `evenly` lays of the net on each day.

    `edges`: the days, in order, before which it is asked what there was until then; what lies between two of them is
    laid on the last day before the later one. None is every day.
    """
    if edges is None:
        counts = list(range(1, days.count))
    else:
        asked = edges[bisect_right(edges, days.first) : bisect_left(edges, days.first + _DAY * days.count)]
        counts = [(edge - days.first).days for edge in asked]
    before = ZERO
    for count in counts:
        through = share(net, Decimal(count), Decimal(days.count), digits)
        yield Recognized(days.first + _DAY * (count - 1), EXACT.subtract(through, before))
        before = through
    yield Recognized(days.first + _DAY * (days.count - 1), EXACT.subtract(net, before))


def evenly(figures: RevenueFigures, days: DaysInARow, digits: int, wanted: range | None = None) -> Iterator[DayPart]:
    """The same on every day; amounts are rounded to the currency through each day, and the last day has the rest.

    `wanted`: the days that are asked for, counted from 0; None is all. Only these cost anything.
    """

    def through(count: int) -> RevenueFigures:
        if count in {0, days.count}:
            return figures if count else RevenueFigures()
        return _scaled(figures, Decimal(count), Decimal(days.count), digits)

    asked = range(days.count) if wanted is None else wanted
    before = through(asked.start) if asked else RevenueFigures()
    for number in asked:
        after = through(number + 1)
        yield DayPart(days.first + _DAY * number, after - before, True)
        before = after


def on_one_day(figures: RevenueFigures, day: date, *, is_allocated: bool) -> Iterator[DayPart]:
    """All of it on one day."""
    yield DayPart(day, figures, is_allocated)


def by_usage(
    figures: RevenueFigures, price: RatedPrice, through_days: Sequence[UsageThrough], digits: int
) -> Iterator[DayPart]:
    """Usage on the days of its events. The allowance is used up first, then the price's tiers in their order.

    Without usage there is nothing to go by, and all of it lies on the last day.
    """
    covered, rate = figures.entitlement_qty, list_rate(price)
    raw = EXACT.add(figures.billable_qty, covered)
    before = RevenueFigures()
    for point, (part, whole) in zip(through_days, _shares(price, through_days, covered), strict=True):
        if point is through_days[-1]:
            through = figures
        else:
            used = point.usage if raw else ZERO
            through = figures_of_usage(
                share(figures.net_amount, part, whole, digits),
                used,
                min(used, covered),
                rate,
                share(figures.line_discount, part, whole, digits),
                share(figures.invoice_discount, part, whole, digits),
            )
        yield DayPart(point.day, through - before, False)
        before = through


def amounts_by_usage(
    net: Decimal, covered: Decimal, price: RatedPrice, through_days: Sequence[UsageThrough], digits: int
) -> Iterator[Recognized]:
    """What `by_usage` lays of the net on each of the days; `covered` is how much of the usage is included."""
    before = ZERO
    for point, (part, whole) in zip(through_days, _shares(price, through_days, covered), strict=True):
        through = net if point is through_days[-1] else share(net, part, whole, digits)
        yield Recognized(point.day, EXACT.subtract(through, before))
        before = through


def _shares(
    price: RatedPrice, through_days: Sequence[UsageThrough], covered: Decimal
) -> Iterator[tuple[Decimal, Decimal]]:
    """How much has come through each day, and of how much: by what it costs, or by usage where all costs nothing."""
    costs = [_cost(price, point, covered) for point in through_days]
    for point, cost in zip(through_days, costs, strict=True):
        yield (cost, costs[-1]) if costs[-1] else (point.usage, through_days[-1].usage)


def _cost(price: RatedPrice, point: UsageThrough, covered: Decimal) -> Decimal:
    if point.cost is not None:
        return point.cost
    return price_quantity(price, max(EXACT.subtract(point.usage, covered), ZERO))


def _scaled(figures: RevenueFigures, part: Decimal, whole: Decimal, digits: int) -> RevenueFigures:
    """A share of the figures, each amount rounded to the currency, quantities to their digits."""

    def amount(value: Decimal) -> Decimal:
        return share(value, part, whole, digits)

    def quantity(value: Decimal) -> Decimal:
        return share(value, part, whole, 15)

    discounts = amount(figures.line_discount), amount(figures.invoice_discount)
    included = amount(figures.entitlement_amount)
    gross = EXACT.add(amount(figures.net_amount), EXACT.add(EXACT.add(*discounts), included))
    tiers = amount(figures.tier_delta)
    return RevenueFigures(
        usage_at_list_rate=EXACT.subtract(gross, tiers),
        tier_delta=tiers,
        entitlement_qty=quantity(figures.entitlement_qty),
        entitlement_amount=included,
        billable_qty=quantity(figures.billable_qty),
        line_discount=discounts[0],
        invoice_discount=discounts[1],
    )
