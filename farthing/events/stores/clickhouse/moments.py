"""Times as ClickHouse's tables have them: whole milliseconds, and microseconds for when an event came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND, _MICROSECOND = timedelta(milliseconds=1), timedelta(microseconds=1)


def milliseconds(moment: datetime) -> int:
    """The millisecond that a time lies in."""
    return (moment - _EPOCH) // _MILLISECOND


def first_millisecond_from(moment: datetime) -> int:
    """The first whole millisecond that is not before a time: the edge of a half-open range of event times."""
    return -((_EPOCH - moment) // _MILLISECOND)


def at_millisecond(number: int) -> datetime:
    return _EPOCH + number * _MILLISECOND


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def at_microsecond(number: int) -> datetime:
    return _EPOCH + number * _MICROSECOND
