"""Which quantity is reported in which hour. Pure.

Rule: docs/rules/marketplaces.md#hours
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

HOUR = timedelta(hours=1)
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class WaitingQuantity(Generic[Key]):
    """What of a record is not in a report yet; `hour` is the record's own."""

    key: Key
    hour: datetime
    quantity: int


@dataclass(slots=True)
class HourReport(Generic[Key]):
    """What is to be reported in one hour, and of which records."""

    hour: datetime
    parts: list[tuple[Key, int]] = field(default_factory=list)

    @property
    def quantity(self) -> int:
        return sum(quantity for _, quantity in self.parts)


def floor_to_hour(moment: datetime) -> datetime:
    """The hour that a moment lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def open_hours(earliest: datetime, latest: datetime, used: Collection[datetime]) -> list[datetime]:
    """The hours, oldest first, that begin within `earliest` to `latest` and have no report."""
    first = floor_to_hour(earliest)
    if first < earliest:
        first += HOUR
    count = (latest - first) // HOUR + 1
    hours = (first + number * HOUR for number in range(max(count, 0)))
    return [hour for hour in hours if hour not in used]


def place(waiting: Iterable[WaitingQuantity[Key]], hours: Sequence[datetime], most: int) -> Sequence[HourReport[Key]]:
    """Give each quantity, oldest first, the first open hour that is not before its own; at most `most` an hour.

    What is too old for its own hour is so reported in the oldest that is open, beside that hour's own. A quantity
    that is too large for one hour goes on in the next one; what finds no hour waits for one to open.
    """
    reports = [HourReport[Key](hour) for hour in hours]
    for item in sorted(waiting, key=lambda item: item.hour):
        left = item.quantity
        for report in reports:
            room = most - report.quantity
            if report.hour < item.hour or (room == 0 and left > 0):
                continue
            part = min(left, room)
            report.parts.append((item.key, part))
            left -= part
            if left == 0:
                break
    return [report for report in reports if report.parts]
