"""A span of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from farthing.core.clock import as_utc, instant

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A half-open span of time `[start, end)`, both aware UTC; never empty. Ordered by start, then end.

    Given in another zone, the bounds are kept in UTC: there a difference is elapsed time, whatever the wall shows.
    Raises ValueError for naive bounds and for an end at or before the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", as_utc(self.start))
        object.__setattr__(self, "end", as_utc(self.end))
        if self.end <= self.start:
            raise ValueError(f"period ends ({self.end}) at or before its start ({self.start})")

    def __str__(self) -> str:
        return f"[{instant(self.start)}, {instant(self.end)})"

    @property
    def duration(self) -> timedelta:
        """Elapsed time."""
        return self.end - self.start

    def contains(self, moment: datetime) -> bool:
        """Whether `moment` lies in the period; its end does not."""
        return self.start <= moment < self.end

    def overlap(self, other: Period) -> Period | None:
        """What both cover; None when they only touch or lie apart."""
        return self.clip(other.start, other.end)

    def clip(self, start: datetime | None, end: datetime | None) -> Period | None:
        """What is left of the period from `start` and before `end` (None is open); None when nothing is.

        The effective window of a line item in a billing period is this.
        Rule: docs/rules/calendar.md#effective-window
        """
        first = self.start if start is None else max(self.start, start)
        last = self.end if end is None else min(self.end, end)
        return Period(first, last) if first < last else None

    def split(self, at: datetime) -> tuple[Period, Period]:
        """The parts before and from `at`, which must lie strictly inside. Raises ValueError otherwise."""
        if not self.start < at < self.end:
            raise ValueError(f"{at} does not lie inside {self}")
        return Period(self.start, at), Period(at, self.end)

    def fraction_of(self, whole: Period) -> Fraction:
        """Exact share of `whole` that this period covers, by elapsed microseconds (0 to 1)."""
        part = self.overlap(whole)
        return Fraction(0) if part is None else elapsed_share(part.duration, whole.duration)


def elapsed_share(part: timedelta, whole: timedelta) -> Fraction:
    """`part` / `whole`, exact to the microsecond, which is all a datetime holds."""
    return Fraction(part // MICROSECOND, whole // MICROSECOND)
