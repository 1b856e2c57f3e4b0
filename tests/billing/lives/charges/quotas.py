"""Quotas of usage that an entitlement grants for a time, and what is charged above them.

Rule: docs/rules/entitlements.md#usage-windows
Rule: docs/rules/entitlements.md#usage-over-a-quota
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.charges.records import Item, Period
from tests.billing.lives.charges.service_time import ServiceTime

SHORTEST_REST = timedelta(hours=1)
LATEST_COUNT = timedelta(days=1)
UNITS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}


@dataclass(frozen=True)
class QuotaTerms:
    """`quota` units, or so much money, for `count` hours, days or weeks, or for the period."""

    quota: Decimal
    in_money: bool
    unit: str
    count: int = 1
    from_unit_start: bool = False

    @property
    def length(self) -> timedelta:
        return UNITS[self.unit] * self.count


@dataclass(eq=False)
class Window:
    """`used` is what was used of the quota, when that was `counted_at` last; a window is stored then."""

    start: datetime
    end: datetime
    used: Fraction = Fraction(0)
    is_exhausted: bool = False
    counted_at: datetime | None = None


@dataclass
class Quotas:
    """What one subscription's entitlement grants; `stored` are the windows that a duty has opened."""

    time: ServiceTime
    terms: QuotaTerms
    stored: list[Window] = field(default_factory=list)

    def cost(self, item: Item, since: datetime, moments: Iterable[datetime], items: Sequence[Item]) -> Fraction:
        """What an item charges from `since` on of what was used in a cycle, all of it in `moments`."""
        cycle = self.time.periods[self.time.period_of(since)]
        total = Fraction(0)
        for _, uses in self._windows(cycle, cycle.start, sorted(moments)):
            total += sum(over for use, over in self._over(uses, items) if since <= use and _charges(item, use))
        return total

    def count(self, now: datetime, moments: Iterable[datetime], items: Sequence[Item]) -> None:
        """What the duty stores: the whole cycle that ended lately, unless it was counted since, and what is open."""
        moments = sorted(moments)
        over_at = self.time.ended_at
        cycle = self.time.period_at(now)
        ended = over_at if over_at is not None and over_at <= now else cycle.start
        if ended > max(now - LATEST_COUNT, self.time.start):
            last = self.time.periods[self.time.period_of(ended - timedelta(microseconds=1))]
            known = [window for window in self.stored if last.start <= window.start < last.end]
            if not known or any(window.counted_at is None or window.counted_at < ended for window in known):
                self._store(last, last.start, [use for use in moments if use < ended], now, items)
        if over_at is None:
            self._store(cycle, self._open_since(cycle), [use for use in moments if use <= now], now, items)

    def _open_since(self, cycle: Period) -> datetime:
        known = [window for window in self.stored if cycle.start <= window.start < cycle.end]
        if not known:
            return cycle.start
        last = max(known, key=lambda window: window.start)
        assert last.counted_at is not None, "what is stored was counted"
        return last.end if last.counted_at >= last.end else last.start

    def _store(
        self, cycle: Period, since: datetime, moments: Sequence[datetime], now: datetime, items: Sequence[Item]
    ) -> None:
        counted = [use for use in moments if since <= use < cycle.end]
        for window, uses in self._windows(cycle, since, counted):
            window.used = sum((self._worth(use, items) for use in uses), Fraction(0))
            window.is_exhausted = window.is_exhausted or window.used >= self.terms.quota
            window.counted_at = now
            if window not in self.stored:
                self.stored.append(window)

    def _windows(self, cycle: Period, since: datetime, uses: Sequence[datetime]) -> list[tuple[Window, list[datetime]]]:
        """The cycle's windows from `since` on, each with the usage in it."""
        known = sorted(
            (window for window in self.stored if since <= window.start < cycle.end), key=lambda window: window.start
        )
        if self.terms.unit == "period":
            whole = known[0] if known else Window(cycle.start, cycle.end)
            whole.end = max(whole.end, cycle.end)
            return [(whole, list(uses))]
        found = [(window, [use for use in uses if window.start <= use < window.end]) for window in known]
        earlier = [window.end for window in self.stored if cycle.start <= window.start < since]
        for use in uses:
            if any(window.start <= use < window.end for window, _ in found):
                continue
            covered = max([since, *earlier, *(window.end for window, _ in found if window.end <= use)])
            if use < covered or cycle.start + self.terms.length >= cycle.end:
                continue
            window = self._opened_by(use, covered, cycle)
            window.end = min([window.end, *(other.start for other, _ in found if other.start > use)])
            found.append((window, [other for other in uses if use <= other < window.end]))
        return sorted(found, key=lambda pair: pair[0].start)

    def _opened_by(self, use: datetime, covered: datetime, cycle: Period) -> Window:
        start = use
        if self.terms.from_unit_start:
            origin = cycle.start.replace(minute=0, second=0, microsecond=0)
            if self.terms.unit != "hour":
                origin = origin.replace(hour=0)
            if self.terms.unit == "week":
                origin -= timedelta(days=origin.weekday())
            start = max(covered, origin + (use - origin) // self.terms.length * self.terms.length)
        end = start + self.terms.length
        return Window(start, cycle.end if cycle.end - end < SHORTEST_REST else end)

    def _worth(self, use: datetime, items: Sequence[Item]) -> Fraction:
        """What one use takes of a quota."""
        if not self.terms.in_money:
            return Fraction(1)
        return sum((Fraction(item.price) for item in items if _charges(item, use)), Fraction(0))

    def _over(self, uses: Sequence[datetime], items: Sequence[Item]) -> list[tuple[datetime, Fraction]]:
        """What each use has over the quota, in money."""
        over, used, quota = [], Fraction(0), Fraction(self.terms.quota)
        for use in uses:
            worth = self._worth(use, items)
            more = max(used + worth - quota, Fraction(0)) - max(used - quota, Fraction(0))
            price = sum((Fraction(item.price) for item in items if _charges(item, use)), Fraction(0))
            over.append((use, more if self.terms.in_money else more * price))
            used += worth
        return over


def _charges(item: Item, use: datetime) -> bool:
    return item.kind == "usage" and item.start <= use and (item.end is None or use < item.end)
