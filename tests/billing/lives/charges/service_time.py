"""The time that a subscription serves: its periods, and the pauses that make them longer.

Rule: docs/rules/calendar.md#pauses-and-dates
Rule: docs/rules/proration.md#service-time
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.billing.lives.arithmetic import NO_TIME, boundary_after
from tests.billing.lives.charges.records import Item, Period


@dataclass
class ServiceTime:
    """Monthly periods in UTC from a start on."""

    start: datetime
    pauses: list[tuple[datetime, datetime]] = field(default_factory=list)
    paused_at: datetime | None = None
    cancels_at: datetime | None = None
    ended_at: datetime | None = None
    periods: list[Period] = field(init=False)
    anchor: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.anchor = self.start
        end = boundary_after(self.start, self.anchor)
        self.periods = [Period(self.start, end - self.start, end)]

    @property
    def open_period(self) -> Period:
        return self.periods[-1]

    @property
    def serves(self) -> bool:
        """Whether the subscription is neither paused nor over."""
        return self.paused_at is None and self.ended_at is None

    def roll(self) -> tuple[Period, Period]:
        """The period that ended and the next one, which is open from now on."""
        closed = self.open_period
        self.periods.append(self._following())
        return closed, self.open_period

    def roll_back(self) -> None:
        """Undo that the last period was begun, of which nobody is told."""
        self.periods.pop()

    def _following(self) -> Period:
        start = self.open_period.end
        end = boundary_after(start, self.anchor)
        return Period(start, end - start, end)

    def period_at(self, now: datetime) -> Period:
        """The period that goes on, also where the renewal is still to come."""
        return self._following() if self.serves and self.open_period.end <= now else self.open_period

    def resume(self, now: datetime) -> None:
        assert self.paused_at is not None
        self.open_period.end += now - self.paused_at
        end, moved = self.open_period.end, self.anchor + (now - self.paused_at)
        # months differ in length: the next period begins where this one ends, and is whole
        self.anchor = moved if boundary_after(end - timedelta(seconds=1), moved) == end else end
        self.pauses.append((self.paused_at, now))
        self.paused_at = None

    def served(self, since: datetime, until: datetime) -> timedelta:
        """Time between two moments that no pause takes."""
        paused = sum((max(min(until, back) - max(since, stop), NO_TIME) for stop, back in self.stops(until)), NO_TIME)
        return max(until - since - paused, NO_TIME)

    def stops(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """The pauses, the one that goes on until `now` among them."""
        return [*self.pauses, *([] if self.paused_at is None else [(self.paused_at, now)])]

    def service(self, item: Item, period: Period) -> timedelta:
        """The service time of a period in which an item is in force, as far as is known now."""
        since = max(item.start, period.start)
        ends = [end for end in (item.end, self.cancels_at) if end is not None]
        until = min([*ends, period.end]) if ends else None
        consumed = self.served(period.start, since)
        if until is None:
            return period.length - consumed
        return min(self.served(period.start, until), period.length) - consumed

    def period_of(self, moment: datetime) -> int:
        return max(index for index, period in enumerate(self.periods) if period.start <= moment)
