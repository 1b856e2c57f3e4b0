"""The time that a report is about: a range of days, its buckets, and the range that it is compared with. Pure.

Rule: docs/rules/reporting.md#ranges-and-buckets
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, windows
from farthing.calendar.zones import first_instant_at, to_local
from farthing.core.errors import ValidationFailed

MOST_DAYS = 1_100
MOST_DAYS_BY_HOUR = 31
DEFAULT_RANGE = "last_30_days"

_DATES = re.compile(r"(?P<first>\d{4}-\d\d-\d\d)\.\.(?P<after>\d{4}-\d\d-\d\d)")
_LAST_DAYS = re.compile(r"last_(?P<count>[1-9]\d{0,3})_days")
_DAY = timedelta(days=1)
_FORMS = "YYYY-MM-DD..YYYY-MM-DD, last_N_days, this_month, last_month or this_year"


class Grain(StrEnum):
    """How long a bucket of a series is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_SIZES = {
    Grain.HOUR: WindowSize.HOUR,
    Grain.DAY: WindowSize.DAY,
    Grain.WEEK: WindowSize.WEEK,
    Grain.MONTH: WindowSize.MONTH,
}


class RangeComparison(StrEnum):
    """Which earlier range a range is compared with."""

    PREVIOUS_PERIOD = "previous_period"
    PREVIOUS_YEAR = "previous_year"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Buckets that follow one another: bucket n is `[edges[n], edges[n + 1])`, and `starts[n]` is its name.

    The first and the last bucket may be cut by the range; a name is the start of the whole bucket.
    """

    starts: tuple[datetime, ...]
    edges: tuple[datetime, ...]

    @property
    def start(self) -> datetime:
        return self.edges[0]

    @property
    def end(self) -> datetime:
        return self.edges[-1]

    @property
    def ends(self) -> tuple[datetime, ...]:
        return self.edges[1:]


@dataclass(frozen=True, slots=True)
class DayRange:
    """The days from `first` until the one before `after`, at least one, as the clocks of `zone` show them."""

    first: date
    after: date
    zone: ZoneInfo

    @property
    def days(self) -> int:
        return (self.after - self.first).days

    @property
    def start(self) -> datetime:
        return first_instant_at(datetime.combine(self.first, time()), self.zone)

    @property
    def end(self) -> datetime:
        return first_instant_at(datetime.combine(self.after, time()), self.zone)

    def timeline(self, grain: Grain | None) -> Timeline:
        """The range cut at the grain's edges; in one piece without a grain."""
        if grain is None:
            return Timeline((self.start,), (self.start, self.end))
        spans = list(windows(Period(self.start, self.end), _SIZES[grain], self.zone))
        edges = [max(span.start, self.start) for span in spans]
        return Timeline(tuple(span.start for span in spans), (*edges, self.end))

    def compared_with(self, comparison: RangeComparison) -> DayRange:
        """The range that is as long and directly before, or the same dates a year earlier."""
        if comparison is RangeComparison.PREVIOUS_PERIOD:
            return DayRange(self.first - timedelta(days=self.days), self.first, self.zone)
        return DayRange(_year_before(self.first), _year_before(self.after), self.zone)


def read_range(text: str, zone: ZoneInfo, now: datetime, field: str) -> DayRange:
    """The range that `text` names, with days of `zone`. Raises ValidationFailed naming `field`."""
    today = to_local(now, zone).date()
    try:
        first, after = _dates(text, today)
    except (ValueError, OverflowError) as error:
        raise ValidationFailed.of(field, f"'{text}' is not a range: {_FORMS}") from error
    if after <= first:
        raise ValidationFailed.of(field, "must end after it starts; the second date is not included")
    if (after - first).days > MOST_DAYS:
        raise ValidationFailed.of(field, f"must be at most {MOST_DAYS} days long")
    if first.year < 2 or after.year > 9998:
        raise ValidationFailed.of(field, "must lie within the years 2 to 9998")
    return DayRange(first, after, zone)


def _dates(text: str, today: date) -> tuple[date, date]:
    if found := _DATES.fullmatch(text):
        return date.fromisoformat(found["first"]), date.fromisoformat(found["after"])
    if found := _LAST_DAYS.fullmatch(text):
        tomorrow = today + _DAY
        return tomorrow - timedelta(days=int(found["count"])), tomorrow
    month = today.replace(day=1)
    next_month = (month + timedelta(days=31)).replace(day=1)
    match text:
        case "this_month":
            return month, next_month
        case "last_month":
            return (month - _DAY).replace(day=1), month
        case "this_year":
            return today.replace(month=1, day=1), today.replace(year=today.year + 1, month=1, day=1)
    raise ValueError(text)


def _year_before(day: date) -> date:
    """The same date a year earlier; 29 February becomes 28 February."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)
