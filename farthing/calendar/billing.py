"""Billing periods: where one ends and the next begins.

A subscription bills in periods `[start, end)` whose ends fall on a grid: the anchor's clock, and its weekday, day of
month or day of year, in the subscription's zone. Only a first period may begin off the grid.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

from farthing.calendar.period import Period
from farthing.calendar.zones import UTC, to_local, to_utc
from farthing.core.clock import as_utc
from farthing.core.errors import InvalidOperation, ValidationFailed

DAY = timedelta(days=1)

MAX_PERIODS = 10_000
MAX_WALK = 240


class BillingPeriod(StrEnum):
    """How often something is charged."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    ONETIME = "ONETIME"


class BillingCycle(StrEnum):
    """Whether periods follow the day it all began or the calendar's own boundaries."""

    ANNIVERSARY = "anniversary"
    CALENDAR = "calendar"


class InvoiceCadence(StrEnum):
    """Whether a charge is due when its period begins or when it has ended."""

    ADVANCE = "ADVANCE"
    ARREAR = "ARREAR"


# Lengths in months of the periods that are counted in months.
MONTHS = MappingProxyType(
    {
        BillingPeriod.MONTHLY: 1,
        BillingPeriod.QUARTERLY: 3,
        BillingPeriod.HALF_YEARLY: 6,
        BillingPeriod.ANNUAL: 12,
    }
)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rhythm of boundaries: every `count` periods of one kind, on the anchor's day and clock as seen in `zone`.

    Sub-seconds of the anchor are dropped. Raises ValidationFailed for a count below 1 and for ONETIME.
    """

    period: BillingPeriod
    anchor: datetime
    zone: ZoneInfo = UTC
    count: int = 1

    def __post_init__(self) -> None:
        if self.period is BillingPeriod.ONETIME:
            raise ValidationFailed.of("billing_period", "ONETIME does not recur: it has no next billing date")
        if self.count < 1:
            raise ValidationFailed.of("billing_period_count", f"must be at least 1, not {self.count}")
        object.__setattr__(self, "anchor", as_utc(self.anchor).replace(microsecond=0))

    @property
    def local_anchor(self) -> datetime:
        """The anchor on the wall, naive."""
        return to_local(self.anchor, self.zone)

    def boundary(self, day: date) -> datetime:
        """The instant of the anchor's clock on a local day."""
        return to_utc(datetime.combine(day, self.local_anchor.time()), self.zone)


def calendar_anchor(start: datetime, period: BillingPeriod, zone: ZoneInfo = UTC) -> datetime:
    """The first natural boundary strictly after `start`: the next local midnight that begins a period of this kind.

    Weeks begin on Monday, quarters in January, April, July and October, halves in January and July.
    Raises ValidationFailed for ONETIME.
    Rule: docs/rules/calendar.md#billing-anchor
    """
    day, found = to_local(start, zone).date(), start
    while found <= start:
        day = _next_natural(day, period)
        found = to_utc(datetime.combine(day, time.min), zone)
    return found


def _next_natural(day: date, period: BillingPeriod) -> date:
    if period is BillingPeriod.DAILY:
        return day + DAY
    if period is BillingPeriod.WEEKLY:
        return day + timedelta(days=7 - day.weekday())
    if period is BillingPeriod.ONETIME:
        raise ValidationFailed.of("billing_period", "ONETIME does not recur: it has no calendar boundary")
    length = MONTHS[period]
    return add_months(day, length - (day.month - 1) % length, 1)


def next_billing_date(start: datetime, recurrence: Recurrence, end: datetime | None = None) -> datetime:
    """Where the period that begins at `start` ends; at `end` at the latest, when given. Always after `start`.

    A start off the grid gives a first period of another length: up to the next anchor day for weeks (plus count - 1
    weeks), months and years; for quarters and halves up to the next whole distance from an anchor that lies ahead.
    Raises ValidationFailed when `end` is not after `start`, or when the result would lie beyond the year 9999.
    Rule: docs/rules/calendar.md#next-billing-date
    """
    start = as_utc(start)
    if end is not None and end <= start:
        raise ValidationFailed.of("end_date", "must be after the start of the period")
    try:
        found = _next_boundary(start, recurrence)
    except (ValueError, OverflowError) as error:
        raise ValidationFailed.of("billing_period_count", "leads beyond the year 9999") from error
    return found if end is None else min(found, as_utc(end))


@lru_cache(maxsize=4096)  # most subscriptions of an environment share their days
def _next_boundary(start: datetime, recurrence: Recurrence) -> datetime:
    if recurrence.period in {BillingPeriod.QUARTERLY, BillingPeriod.HALF_YEARLY} and start < recurrence.anchor:
        return _first_point_before_anchor(start, recurrence)
    day, found = _nominal_day(start, recurrence), start
    # One step is enough but where a clock is set back across midnight: there tomorrow's boundary (its first
    # occurrence) can precede a start in the repeated stretch of today.
    while found <= start:
        day = _next_day(day, start, recurrence)
        found = recurrence.boundary(day)
    return found


def _first_point_before_anchor(start: datetime, recurrence: Recurrence) -> datetime:
    """The first point after `start` of the grid that is counted back from an anchor that lies ahead, each point
    clamped from the anchor's own day."""
    anchor, length = recurrence.local_anchor.date(), MONTHS[recurrence.period] * recurrence.count
    day = to_local(start, recurrence.zone).date()
    steps = ((anchor.year - day.year) * 12 + anchor.month - day.month) // length + 1
    point = recurrence.boundary(add_months(anchor, -steps * length, anchor.day))
    while point <= start:
        steps -= 1
        point = recurrence.boundary(add_months(anchor, -steps * length, anchor.day))
    return point


def _nominal_day(boundary: datetime, recurrence: Recurrence) -> date:
    """The local day a boundary belongs to: a clock set forward at 23:00 moves the boundary of 23:30 into the next day,
    which must not lose that next day its own."""
    day = to_local(boundary, recurrence.zone).date()
    return day - DAY if recurrence.boundary(day - DAY) == boundary else day


def _next_day(day: date, start: datetime, recurrence: Recurrence) -> date:
    """The local day of the boundary after `day`."""
    anchor, count, period = recurrence.local_anchor.date(), recurrence.count, recurrence.period
    if period is BillingPeriod.DAILY:
        return day + count * DAY
    if period is BillingPeriod.WEEKLY:
        ahead = (anchor.weekday() - day.weekday()) % 7
        return day + timedelta(days=ahead + 7 * (count - 1) if ahead else 7 * count)
    if period is BillingPeriod.ANNUAL:
        this_year = _clamped(day.year, anchor.month, anchor.day)
        if recurrence.boundary(this_year) > start:
            return this_year
        return _clamped(day.year + count, anchor.month, anchor.day)
    if period is BillingPeriod.MONTHLY and day < (this_month := _clamped(day.year, day.month, anchor.day)):
        return this_month
    return add_months(day, MONTHS[period] * count, anchor.day)


def natural_period_start(boundary: datetime, recurrence: Recurrence) -> datetime:
    """The boundary one whole period before `boundary`, which should lie on the grid; same clamping, in local time.

    Rule: docs/rules/calendar.md#natural-start-of-a-period
    """
    boundary = as_utc(boundary)
    day, found = _nominal_day(boundary, recurrence), boundary
    while found >= boundary:
        day = _previous_day(day, recurrence)
        found = recurrence.boundary(day)
    return found


def _previous_day(day: date, recurrence: Recurrence) -> date:
    anchor, count, period = recurrence.local_anchor.date(), recurrence.count, recurrence.period
    if period is BillingPeriod.DAILY:
        return day - count * DAY
    if period is BillingPeriod.WEEKLY:
        return day - 7 * count * DAY
    if period is BillingPeriod.ANNUAL:
        return _clamped(day.year - count, anchor.month, anchor.day)
    return add_months(day, -MONTHS[period] * count, anchor.day)


def add_months(day: date, months: int, day_of_month: int) -> date:
    """`day_of_month`, or the last day if the month is shorter, of the month `months` after that of `day`."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return _clamped(year, month + 1, day_of_month)


def _clamped(year: int, month: int, day_of_month: int) -> date:
    return date(year, month, min(day_of_month, monthrange(year, month)[1]))


def periods_from(start: datetime, recurrence: Recurrence, end: datetime | None = None) -> Iterator[Period]:
    """The periods from `start` on, one after the other: without end, or up to `end` exactly."""
    while end is None or start < end:
        period = Period(start, next_billing_date(start, recurrence, end))
        yield period
        start = period.end


@dataclass(frozen=True, slots=True)
class PeriodProgress:
    """What has become of a subscription's periods: those that are over, and the one that is open.

    `current` is None once the last period, cut off by the subscription's end, is over.
    """

    completed: tuple[Period, ...]
    current: Period | None


def periods_until(
    current: Period, recurrence: Recurrence, now: datetime, end: datetime | None = None
) -> PeriodProgress:
    """Follow the periods from the open one to `now`. A period is over at the instant of its end.

    Raises InvalidOperation after 10 000 periods.
    Rule: docs/rules/calendar.md#walking-periods
    """
    completed: list[Period] = []
    while current.end <= now:
        completed.append(current)
        if end is not None and current.end >= end:
            return PeriodProgress(tuple(completed), None)
        if len(completed) >= MAX_PERIODS:
            raise InvalidOperation(
                f"More than {MAX_PERIODS} billing periods lie between {completed[0].start} and {now}"
            )
        current = Period(current.end, next_billing_date(current.end, recurrence, end))
    return PeriodProgress(tuple(completed), current)


def period_containing(moment: datetime, known: Period, recurrence: Recurrence) -> Period:
    """The period that holds `moment`, found from a known one by walking at most 240 periods either way.

    No end date caps it. Before a known first period that began off the grid, whole periods of the grid are counted
    back and the last of them is cut at its start. Raises InvalidOperation when 240 steps do not reach.
    Rule: docs/rules/calendar.md#walking-periods
    """
    period = known
    for _ in range(MAX_WALK):
        if period.contains(moment):
            return period
        if moment >= period.end:
            period = Period(period.end, next_billing_date(period.end, recurrence))
        else:
            period = Period(_boundary_before(period, recurrence), period.start)
    if period.contains(moment):
        return period
    raise InvalidOperation(f"{moment} lies more than {MAX_WALK} billing periods from {known}")


def _boundary_before(period: Period, recurrence: Recurrence) -> datetime:
    # A first period that began off the grid is counted back from its end, which lies on it.
    day = _nominal_day(period.start, recurrence)
    on_grid = recurrence.boundary(day) == period.start and _is_anchor_day(day, recurrence)
    found = natural_period_start(period.start if on_grid else period.end, recurrence)
    while found >= period.start:
        found = natural_period_start(found, recurrence)
    return found


def _is_anchor_day(day: date, recurrence: Recurrence) -> bool:
    anchor = recurrence.local_anchor.date()
    if recurrence.period is BillingPeriod.DAILY:
        return True
    if recurrence.period is BillingPeriod.WEEKLY:
        return day.weekday() == anchor.weekday()
    if recurrence.period is BillingPeriod.ANNUAL:
        return day == _clamped(day.year, anchor.month, anchor.day)
    return day == _clamped(day.year, day.month, anchor.day)
