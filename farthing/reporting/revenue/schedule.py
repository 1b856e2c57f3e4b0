"""When the revenue of a line is recognized, and what of it is billed ahead or earned and not billed. Pure.

Rule: docs/rules/reporting.md#recognition
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import accumulate

from farthing.core.money import EXACT, ZERO, exact_sum, share
from farthing.reporting.revenue.by_day.allocation import Recognized


@dataclass(frozen=True, slots=True)
class UndoneRevert:
    """When the credit note behind a revert became void."""

    day: date
    at: datetime


@dataclass(frozen=True, slots=True)
class RevertOfLine:
    """An amount that a credit note or a void took back of a line, and the day on which it did."""

    day: date
    at: datetime
    amount: Decimal
    undone: UndoneRevert | None = None

    def taken_before(self, at: datetime) -> Decimal:
        """What of it stood at an instant."""
        return ZERO if self.at >= at or (self.undone is not None and self.undone.at < at) else self.amount


@dataclass(frozen=True, slots=True)
class LineSchedule:
    """A line's recognized amounts by day, and what of it was billed from when on; `billed_at` None is not yet."""

    recognized: tuple[Recognized, ...]
    billed_at: datetime | None
    billed: Decimal
    taken_back: tuple[RevertOfLine, ...] = ()
    _days: tuple[date, ...] = field(init=False, repr=False, compare=False)
    _through: tuple[Decimal, ...] = field(init=False, repr=False, compare=False)
    """What was recognized before each of the days, and at last in all: a question of many days adds up once."""

    def __post_init__(self) -> None:
        parts = sorted(self.recognized, key=lambda part: part.day)
        object.__setattr__(self, "_days", tuple(part.day for part in parts))
        object.__setattr__(
            self, "_through", tuple(accumulate((part.amount for part in parts), EXACT.add, initial=ZERO))
        )

    def recognized_before(self, day: date) -> Decimal:
        """What was recognized until the day begins."""
        return self._through[bisect_left(self._days, day)]

    def recognized_between(self, first: date, after: date) -> Decimal:
        """What is recognized from a day on, until another begins."""
        return EXACT.subtract(self.recognized_before(after), self.recognized_before(first))

    def billed_before(self, at: datetime) -> Decimal:
        """What had been billed by an instant, less what had been taken back."""
        if self.billed_at is None or self.billed_at >= at:
            return ZERO
        return EXACT.subtract(self.billed, exact_sum([back.taken_before(at) for back in self.taken_back]))

    def deferred(self, at: datetime, day: date) -> Decimal:
        """What is billed and not earned at an instant with which `day` begins."""
        return max(EXACT.subtract(self.billed_before(at), self.recognized_before(day)), ZERO)

    def unbilled(self, at: datetime, day: date) -> Decimal:
        """What is earned and not billed."""
        return max(EXACT.subtract(self.recognized_before(day), self.billed_before(at)), ZERO)


def with_reverts(parts: Sequence[Recognized], reverts: Sequence[RevertOfLine], digits: int) -> tuple[Recognized, ...]:
    """The parts of a line after what was taken back: first of what was still to come on that day, and what that does
    not cover is taken off what was recognized, on the day itself. From the day on which a revert is undone all is as if
    it had never been, and that day makes up for the days before."""
    standing = list(reverts)
    schedule = _taken_back(parts, standing, digits)
    pairs = [(revert.undone, revert) for revert in reverts if revert.undone is not None]
    for undone, revert in sorted(pairs, key=lambda pair: pair[0].at):
        standing.remove(revert)
        restored = _taken_back(parts, standing, digits)
        passed = [part for part in schedule if part.day <= undone.day]
        due = exact_sum([part.amount for part in restored if part.day <= undone.day])
        missing = EXACT.subtract(due, exact_sum([part.amount for part in passed]))
        coming = [part for part in restored if part.day > undone.day]
        schedule = [*passed, Recognized(undone.day, missing), *coming]
    return tuple(schedule)


def _taken_back(parts: Sequence[Recognized], reverts: Sequence[RevertOfLine], digits: int) -> list[Recognized]:
    schedule = sorted(parts, key=lambda part: part.day)
    for revert in sorted(reverts, key=lambda revert: revert.at):
        passed = [part for part in schedule if part.day <= revert.day]
        coming = [part for part in schedule if part.day > revert.day]
        to_come = exact_sum([part.amount for part in coming])
        covered = min(revert.amount, max(to_come, ZERO))
        rest = EXACT.subtract(revert.amount, covered)
        if rest:
            passed.append(Recognized(revert.day, rest.copy_negate()))
        schedule = [*passed, *_lowered(coming, to_come, covered, digits)]
    return schedule


def _lowered(coming: Sequence[Recognized], to_come: Decimal, by: Decimal, digits: int) -> list[Recognized]:
    """Parts lowered in proportion, rounded through each day; the last has the rest."""
    if not by:
        return list(coming)
    left = EXACT.subtract(to_come, by)
    lowered, through, before = [], ZERO, ZERO
    for number, part in enumerate(coming, start=1):
        through = EXACT.add(through, part.amount)
        now = left if number == len(coming) else share(through, left, to_come, digits)
        lowered.append(Recognized(part.day, EXACT.subtract(now, before)))
        before = now
    return lowered
