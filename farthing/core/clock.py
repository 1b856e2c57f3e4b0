"""Time. The only module that asks what time it is; every rule is given the time as a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
LAST_INSTANT = datetime.max.replace(tzinfo=UTC)
FIRST_WALL_TIME, LAST_WALL_TIME = FIRST_INSTANT.replace(tzinfo=None), LAST_INSTANT.replace(tzinfo=None)


@runtime_checkable
class Clock(Protocol):
    """Tells the time for one environment: the real one, or a test clock that its owner advances."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock, in aware UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still, for frozen environments and for tests."""

    def __init__(self, at: datetime) -> None:
        self._at = as_utc(at)

    def now(self) -> datetime:
        return self._at


def as_utc(moment: datetime) -> datetime:
    """The same instant in UTC. Raises ValueError for a naive datetime or one outside years 1 to 9999."""
    if moment.tzinfo is None:
        raise ValueError("must carry a time zone, for example 2024-03-20T15:04:05Z")
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def shifted(moment: datetime, by: timedelta) -> datetime:
    """`moment` moved by `by`, or the end of the calendar on that side where this would leave the years 1 to 9999.

    Rule: docs/rules/conventions.md#times
    """
    try:
        return moment + by
    except OverflowError:
        return (LAST_INSTANT if by > timedelta(0) else FIRST_INSTANT).replace(tzinfo=moment.tzinfo)


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z` and up to microseconds, trailing zeros of the fraction removed."""
    # an offset of nothing is written "+00:00"
    text = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()[:-6]
    return (text.rstrip("0") if "." in text else text) + "Z"
