"""What a line earns on each of its days: on which days it lies, and its figures, or its net alone, on each.

Rule: docs/rules/reporting.md#days-of-a-line
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from farthing.calendar.zones import to_local
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.revenue.by_day.allocation import (
    AllocationPolicy,
    DayPart,
    DaysInARow,
    Recognized,
    UsageThrough,
    amounts_by_usage,
    amounts_evenly,
    by_usage,
    days_of,
    evenly,
    on_one_day,
)
from farthing.reporting.revenue.lines import RevenueLine

MOST_DAYS_OF_A_LINE = 36_525
"""A hundred years; what is charged for longer is not spread."""

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _OneDay:
    """All of a line lies on one day."""

    day: date
    is_allocated: bool


@dataclass(frozen=True, slots=True)
class _UsageDays:
    """A line lies on the days of its events."""

    price: RatedPrice
    through_days: Sequence[UsageThrough]


def parts_of(
    line: RevenueLine,
    price: RatedPrice | None,
    used: Sequence[UsageThrough] | None,
    policy: AllocationPolicy,
    zone: ZoneInfo,
    within: tuple[date, date],
) -> Iterator[DayPart]:
    """The figures of a line by day; days that are not `within` these, the second left out, may be missing."""
    figures = line.figures(price)
    match _days_of_line(line, price, used, policy, zone):
        case _UsageDays() as usage:
            yield from by_usage(figures, usage.price, usage.through_days, line.digits)
        case DaysInARow() as days:
            yield from evenly(figures, days, line.digits, days.part_between(*within))
        case _OneDay() as only:
            yield from on_one_day(figures, only.day, is_allocated=only.is_allocated)


def amounts_of(
    line: RevenueLine,
    price: RatedPrice | None,
    used: Sequence[UsageThrough] | None,
    zone: ZoneInfo,
    edges: Sequence[date] | None,
) -> Iterator[Recognized]:
    """The net of a line by day, what is charged for a whole period evenly on its days.

    `edges`: the days, in order, before which it is asked what there was until then; in between, the net may lie on a
    later day. None: every day matters.
    """
    match _days_of_line(line, price, used, AllocationPolicy.AMORTIZED, zone):
        case _UsageDays() as usage:
            covered = line.figures(price).entitlement_qty
            yield from amounts_by_usage(line.net, covered, usage.price, usage.through_days, line.digits)
        case DaysInARow() as days:
            yield from amounts_evenly(line.net, days, line.digits, edges)
        case _OneDay() as only:
            yield Recognized(only.day, line.net)


def _days_of_line(
    line: RevenueLine,
    price: RatedPrice | None,
    used: Sequence[UsageThrough] | None,
    policy: AllocationPolicy,
    zone: ZoneInfo,
) -> _UsageDays | DaysInARow | _OneDay:
    if used and price is not None and any(point.usage for point in used):
        return _UsageDays(price, used)
    if not line.has_period or line.period_start is None or line.period_end is None:
        at = line.dated_at if line.period_start is None else line.period_start
        return _OneDay(to_local(at, zone).date(), is_allocated=False)
    last_day = to_local(line.period_end - _INSTANT, zone).date()
    if line.is_metered:
        return _OneDay(last_day, is_allocated=bool(line.net))
    if policy is AllocationPolicy.AMORTIZED and line.adjustment is None:
        days = days_of(line.period_start, line.period_end, zone)
        if days.count <= MOST_DAYS_OF_A_LINE:
            return days
    is_ahead = line.booked_in_advance and line.adjustment is None
    return _OneDay(to_local(line.period_start, zone).date() if is_ahead else last_day, is_allocated=True)
