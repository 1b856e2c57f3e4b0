"""Usage windows: spans aligned to the clock on the wall, half-open, named by the instant at which they start.

Definitions, for whoever computes the same windows in a query:

- MINUTE to HOUR follow elapsed time. While the offset stands still, windows are `date_bin(size, t, midnight)` with
  `midnight` any local midnight under that offset; a change of offset always starts a new window. `offset_spans` gives
  the stretches of one offset, so a query takes `greatest(date_bin(size, t, span.midnight), span.start)`.
- 3HOUR and larger have their edges on the wall (`zones.first_instant_at`: the first instant at which the wall shows
  that time
  or later). Compute them here, with `windows`, and hand them to the query as instants: a database's own zone
  arithmetic is not relied on.

An edge that a gap swallows coincides with its neighbour, and the window between them does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

from farthing.calendar.billing import DAY, add_months
from farthing.calendar.period import MICROSECOND, Period
from farthing.calendar.zones import UTC, first_instant_at, last_change, offset_at, to_local
from farthing.core.clock import FIRST_INSTANT, FIRST_WALL_TIME, LAST_INSTANT, LAST_WALL_TIME, as_utc, shifted


class WindowSize(StrEnum):
    """Wire values of `window_size` and `bucket_size`; the empty string (no series) is the caller's None."""

    MINUTE = "MINUTE"
    QUARTER_HOUR = "15MIN"
    HALF_HOUR = "30MIN"
    HOUR = "HOUR"
    THREE_HOURS = "3HOUR"
    SIX_HOURS = "6HOUR"
    TWELVE_HOURS = "12HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


# Windows of elapsed time; each divides the hour.
ELAPSED = MappingProxyType(
    {
        WindowSize.MINUTE: timedelta(minutes=1),
        WindowSize.QUARTER_HOUR: timedelta(minutes=15),
        WindowSize.HALF_HOUR: timedelta(minutes=30),
        WindowSize.HOUR: timedelta(hours=1),
    }
)

# Windows with edges on the wall whose length there is fixed; the hours divide the day. MONTH is the odd one out.
ON_THE_WALL = MappingProxyType(
    {
        WindowSize.THREE_HOURS: timedelta(hours=3),
        WindowSize.SIX_HOURS: timedelta(hours=6),
        WindowSize.TWELVE_HOURS: timedelta(hours=12),
        WindowSize.DAY: DAY,
        WindowSize.WEEK: 7 * DAY,
    }
)


def anchor_day(billing_anchor: datetime, zone: ZoneInfo = UTC) -> int:
    """All that a MONTH window takes from a billing anchor: its local day of month (1 to 31)."""
    return to_local(billing_anchor, zone).day


def window_containing(moment: datetime, size: WindowSize, zone: ZoneInfo = UTC, month_day: int = 1) -> Period:
    """The window that holds `moment`. `month_day` (1 to 31, clamped in short months) counts for MONTH only.

    Rule: docs/rules/calendar.md#usage-windows
    """
    if not 1 <= month_day <= 31:
        raise ValueError(f"a month has no day {month_day}")
    moment = as_utc(moment)
    if size in ELAPSED:
        return _elapsed_window(moment, ELAPSED[size], zone)
    edge = _floor(to_local(moment, zone), size, month_day)
    # The wall may run backwards or skip midnight, so what it shows is only a first guess: instants decide.
    while _start_at(edge, zone) > moment:
        edge = _step(edge, size, month_day, -1)
    while (end := _start_at(following := _step(edge, size, month_day, 1), zone)) <= moment < LAST_INSTANT:
        edge = following
    return Period(_start_at(edge, zone), end)


def window_start(moment: datetime, size: WindowSize, zone: ZoneInfo = UTC, month_day: int = 1) -> datetime:
    """Where the window that holds `moment` begins."""
    return window_containing(moment, size, zone, month_day).start


def next_window(moment: datetime, size: WindowSize, zone: ZoneInfo = UTC, month_day: int = 1) -> datetime:
    """Where the window after the one that holds `moment` begins."""
    return window_containing(moment, size, zone, month_day).end


def windows(span: Period, size: WindowSize, zone: ZoneInfo = UTC, month_day: int = 1) -> Iterator[Period]:
    """Every window that overlaps `span`, in order, each with its full bounds: the first may begin before `span`."""
    moment = span.start
    while moment < span.end:
        window = window_containing(moment, size, zone, month_day)
        yield window
        moment = window.end


def _elapsed_window(moment: datetime, size: timedelta, zone: ZoneInfo) -> Period:
    offset = offset_at(moment, zone)
    start = shifted(moment, -((moment - FIRST_INSTANT + offset) % size))
    end = shifted(start, size)
    if offset_at(start, zone) != offset:
        start = last_change(start, moment, zone)
    if offset_at(end - MICROSECOND, zone) != offset:
        end = last_change(moment, end - MICROSECOND, zone)
    return Period(start, end)


def _start_at(edge: datetime, zone: ZoneInfo) -> datetime:
    """The instant of an edge; windows at either end of the calendar reach to the end, whatever the wall shows."""
    if edge == FIRST_WALL_TIME:
        return FIRST_INSTANT
    return LAST_INSTANT if edge == LAST_WALL_TIME else first_instant_at(edge, zone)


def _floor(local: datetime, size: WindowSize, month_day: int) -> datetime:
    midnight = datetime.combine(local.date(), time.min)
    if size is WindowSize.WEEK:
        return midnight - local.weekday() * DAY
    if size is WindowSize.MONTH:
        edge = datetime.combine(add_months(local.date(), 0, month_day), time.min)
        return edge if edge <= midnight else _step(edge, size, month_day, -1)
    return midnight + (local - midnight) // ON_THE_WALL[size] * ON_THE_WALL[size]


def _step(edge: datetime, size: WindowSize, month_day: int, direction: int) -> datetime:
    if size is not WindowSize.MONTH:
        return shifted(edge, direction * ON_THE_WALL[size])
    try:
        return datetime.combine(add_months(edge.date(), direction, month_day), time.min)
    except (ValueError, OverflowError):
        return LAST_WALL_TIME if direction > 0 else FIRST_WALL_TIME


@dataclass(frozen=True, slots=True)
class OffsetSpan:
    """A stretch of time under one offset from UTC."""

    start: datetime
    end: datetime
    offset: timedelta

    @property
    def midnight(self) -> datetime:
        """A local midnight under this offset, as an instant: the origin for `date_bin`."""
        return datetime(2000, 1, 1, tzinfo=self.start.tzinfo) - self.offset


def offset_spans(span: Period, zone: ZoneInfo) -> list[OffsetSpan]:
    """The stretches of one offset that cover `span`, in order.

    The first begins up to a day before it, so that the clock's last change is seen by every window of an hour or less
    that reaches into `span`. Two changes within a day would be missed; no zone has had them.
    """
    found: list[OffsetSpan] = []
    start = cursor = shifted(span.start, -DAY)
    while cursor < span.end:
        following = min(shifted(cursor, DAY), span.end)
        if offset_at(following, zone) != offset_at(cursor, zone):
            change = last_change(cursor, following, zone)
            found.append(OffsetSpan(start, change, offset_at(cursor, zone)))
            start = change
        cursor = following
    if start < span.end:
        found.append(OffsetSpan(start, span.end, offset_at(start, zone)))
    return [stretch for stretch in found if stretch.end > span.start]
