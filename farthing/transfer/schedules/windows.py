"""Which windows a schedule exports, and when: pure arithmetic on UTC.

Rule: docs/rules/imports-and-exports.md#windows
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from farthing.calendar.period import Period
from farthing.transfer.enums import ScheduleInterval

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTHS = {
    ScheduleInterval.QUARTER_HOUR: timedelta(minutes=15),
    ScheduleInterval.HALF_HOUR: timedelta(minutes=30),
    ScheduleInterval.HOURLY: timedelta(hours=1),
    ScheduleInterval.DAILY: timedelta(days=1),
}
REGULAR = tuple(_LENGTHS)
"""The intervals at which something is exported by itself."""
_DELAYS = {
    ScheduleInterval.HOURLY: timedelta(minutes=15),
    ScheduleInterval.DAILY: timedelta(minutes=15),
}
"""How long after its end a window is exported: late events have come by then."""


def length_of(interval: ScheduleInterval) -> timedelta:
    """How long a window is."""
    return _LENGTHS[interval]


def boundary_before(interval: ScheduleInterval, moment: datetime) -> datetime:
    """The last boundary between windows at or before `moment`."""
    length = length_of(interval)
    return moment - (moment - _EPOCH) % length


def last_whole_window(interval: ScheduleInterval, now: datetime) -> Period:
    """The window that ended last."""
    end = boundary_before(interval, now)
    return Period(end - length_of(interval), end)


def due_from(interval: ScheduleInterval, now: datetime) -> datetime:
    """Windows that began at this time, or before, are to be exported at `now`."""
    return now - length_of(interval) - _DELAYS.get(interval, timedelta(0))


def due_windows(interval: ScheduleInterval, exported_until: datetime, now: datetime) -> Iterator[Period]:
    """The windows after `exported_until` whose time to be exported has come, oldest first."""
    length, latest = length_of(interval), due_from(interval, now)
    start = exported_until
    while start <= latest:
        yield Period(start, start + length)
        start += length
