"""Coupons: which lines they discount, and what is left of their budgets.

Rule: docs/rules/discounts-and-taxes.md#which-lines-a-coupon-discounts
Rule: docs/rules/discounts-and-taxes.md#budgets
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import NOTHING, in_cents, split
from tests.billing.lives.charges.records import Coupon, Document, Item, Line
from tests.billing.lives.charges.service_time import ServiceTime

Carried = Sequence[tuple[Coupon, Item, Decimal]]
"""What coupons for one invoice took off a fee that goes on in another quantity."""


@dataclass
class Discounts:
    """`returned` is what credits for unused time gave back to a coupon's budget of a period."""

    time: ServiceTime
    coupons: list[Coupon] = field(default_factory=list)
    returned: dict[tuple[Coupon, int], Decimal] = field(default_factory=lambda: defaultdict(lambda: NOTHING))

    def attach(self, coupon: Coupon, documents: Sequence[Document]) -> None:
        """A coupon for a number of periods begins with the next one where this one is invoiced already."""
        coupon.first_period = len(self.time.periods) - 1
        period = self.time.open_period
        for document in documents:
            for line in document.lines:
                assert line.item is not None, "a subscription's lines charge its items"
                named = coupon.item is None or coupon.item.continues(line.item) or line.item.continues(coupon.item)
                if named and period.start <= line.start < period.end:
                    coupon.first_period = len(self.time.periods)
        self.coupons.append(coupon)

    def apply(self, lines: Sequence[Line], others: Sequence[Document], carried: Carried = ()) -> None:
        """Discount lines, beside what `others` took."""
        for line in lines:
            line.discounts = []
        for coupon, item, amount in carried:
            for line in lines:
                if line.item is item:
                    line.discounts.append((coupon, -1, min(amount, line.left)))
        ordered = [coupon for coupon in self.coupons if coupon.item is not None]
        ordered += [coupon for coupon in self.coupons if coupon.item is None]
        for coupon in ordered:
            if coupon.cadence == "once" and any(other.taken(coupon) for other in others):
                continue
            reached = [line for line in lines if self._reaches(coupon, line)]
            groups: dict[int, list[Line]] = defaultdict(list)
            for line in reached:
                groups[self.time.period_of(line.start) if coupon.is_budgeted else -1].append(line)
            for period in sorted(groups):
                most = coupon.amount
                if most is not None and coupon.is_budgeted:
                    most -= sum((other.taken(coupon)[period] for other in others), NOTHING)
                    most = max(most + self.returned[coupon, period], NOTHING)
                _take(coupon, period, groups[period], most)

    def _reaches(self, coupon: Coupon, line: Line) -> bool:
        assert line.item is not None, "a subscription's lines charge its items"
        if coupon.item is not None and not line.item.continues(coupon.item):
            return False
        if coupon.until is not None and line.start >= coupon.until:
            return False
        if coupon.cadence == "repeated":
            return coupon.first_period <= self.time.period_of(line.start) < coupon.first_period + coupon.periods
        return coupon.since < line.end


def _take(coupon: Coupon, period: int, lines: list[Line], most: Decimal | None) -> None:
    """Coupons on a line discount the whole charge of each; the others what is left of all together."""
    if coupon.item is not None and coupon.percent is not None:
        for line in lines:
            off = in_cents(Fraction(line.gross) * coupon.percent / 100)
            line.discounts.append((coupon, period, min(off, line.left)))
        return
    bases = [line.left if coupon.item is None else line.gross for line in lines]
    base = sum(bases, NOTHING)
    off = in_cents(Fraction(base) * (coupon.percent or 0) / 100) if most is None else most
    off = min(off, base)
    if off > 0:
        for line, part in zip(lines, split(off, bases), strict=True):
            line.discounts.append((coupon, period, min(part, line.left)))
