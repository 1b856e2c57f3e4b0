"""Coupons on an invoice: what each takes off, and how the invoice-level sum falls on the lines.

Which coupons apply, and in which order, the caller decides; order matters between percentages and fixed amounts,
because invoice coupons chain.
Rule: docs/rules/discounts-and-taxes.md#coupons-on-lines
Rule: docs/rules/discounts-and-taxes.md#coupons-on-the-invoice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from farthing.core.money import EXACT, allocate, exact_sum, round_to
from farthing.rating.totals.lines import ChargeLine


class CouponType(StrEnum):
    """What a coupon takes off: an amount, or a percentage of what it applies to."""

    FIXED = "fixed"
    PERCENTAGE = "percentage"


@dataclass(frozen=True, slots=True)
class DiscountedTogether:
    """Lines that a coupon discounts together. `most` is what is left of an amount that the coupon has for them, in the
    period that starts at `period_start`; None where no budget limits it.
    """

    line_ids: frozenset[str]
    most: Decimal | None = None
    period_start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon that applies: `off` is an amount in the invoice's currency, or a percentage above 0 up to 100.

    `target` is the subscription line item, or else the price, whose lines it discounts; None is the invoice.
    `also` are the versions that have followed the line item: together they are one charge, discounted once.
    `groups` are the lines that it reaches; None is all lines, together.
    """

    id: str
    type: CouponType
    off: Decimal
    target: str | None = None
    also: tuple[str, ...] = ()
    groups: tuple[DiscountedTogether, ...] | None = None

    def __post_init__(self) -> None:
        if self.off <= 0:
            raise ValueError(f"a coupon must take off more than 0, not {self.off}")
        if self.type is CouponType.PERCENTAGE and self.off > 100:
            raise ValueError(f"a coupon must take off at most 100 percent, not {self.off}")

    def groups_of(self, lines: Sequence[ChargeLine]) -> tuple[DiscountedTogether, ...]:
        """The groups of lines that it discounts among these."""
        return (DiscountedTogether(frozenset(line.id for line in lines)),) if self.groups is None else self.groups


@dataclass(frozen=True, slots=True)
class CouponApplication:
    """What one coupon took off, rounded and above 0: off one line, or (`line_id` None) off several together.

    `position` is the coupon's place in the order given. `original_price` is what it was computed on: the gross line, or
    what earlier coupons had left. `shares` say how much of it fell on which line.
    """

    coupon: Coupon
    position: int
    line_id: str | None
    original_price: Decimal
    discounted_amount: Decimal
    shares: tuple[tuple[str, Decimal], ...]
    period_start: datetime | None = None

    @property
    def final_price(self) -> Decimal:
        return EXACT.subtract(self.original_price, self.discounted_amount)


def discount_on(coupon: Coupon, base: Decimal, digits: int, most: Decimal | None = None) -> Decimal:
    """What a coupon takes off `base`, rounded, at most `base` (which has at most `digits` decimals) and `most`."""
    if coupon.type is CouponType.PERCENTAGE:
        return min(round_to(Fraction(base) * Fraction(coupon.off) / 100, digits), base)
    return min(round_to(coupon.off if most is None else most, digits), base)


def line_applications(lines: Sequence[ChargeLine], coupons: Sequence[Coupon], digits: int) -> list[CouponApplication]:
    """Line coupons, each computed on the gross charge of its lines, together capped at each line's charge.

    Line amounts are rounded already. A coupon without a line here takes nothing off. A fixed coupon that meets
    several lines of its target (a usage charge and its overage, say) is spent once, spread by their charges.
    Coupons without a target are not looked at.
    """
    left = {line.id: line.charge for line in lines}
    applied: list[CouponApplication] = []
    for position, coupon in enumerate(coupons):
        targeted = _targeted(lines, coupon)
        for group in coupon.groups_of(targeted) if targeted else ():
            ours = [line for line in targeted if line.id in group.line_ids]
            for line, wanted in zip(ours, _wanted(coupon, ours, digits, group.most), strict=True):
                discount = min(wanted, left[line.id])
                left[line.id] = EXACT.subtract(left[line.id], discount)
                if discount > 0:
                    share = ((line.id, discount),)
                    applied.append(
                        CouponApplication(coupon, position, line.id, line.charge, discount, share, group.period_start)
                    )
    return applied


def _targeted(lines: Sequence[ChargeLine], coupon: Coupon) -> list[ChargeLine]:
    """The lines a coupon names, by id, so that a spread does not depend on the order of lines."""
    if coupon.target is None:
        return []
    versions = {coupon.target, *coupon.also}
    named = [line for line in lines if line.subscription_line_item_id in versions]
    named = named or [line for line in lines if line.price_id == coupon.target]
    return sorted(named, key=lambda line: line.id)


def _wanted(coupon: Coupon, lines: Sequence[ChargeLine], digits: int, most: Decimal | None) -> list[Decimal]:
    if coupon.type is CouponType.PERCENTAGE:
        return [discount_on(coupon, line.charge, digits) for line in lines]
    gross = [line.charge for line in lines]
    return allocate(discount_on(coupon, exact_sum(gross), digits, most), gross, digits)


def invoice_applications(
    lines: Sequence[ChargeLine], left: Mapping[str, Decimal], coupons: Sequence[Coupon], digits: int
) -> list[CouponApplication]:
    """The other coupons in the order given, each on what the earlier ones left of its lines, until nothing is left.

    `left` is, by line, what line coupons have left of its charge, rounded. Each discount falls on its lines by largest
    remainder over what was left of them; `lines` in stable order (creation, id), which breaks ties.
    Rule: docs/rules/discounts-and-taxes.md#distribution-over-lines
    """
    rest = dict(left)
    applied: list[CouponApplication] = []
    for position, coupon in enumerate(coupons):
        if coupon.target is not None:
            continue
        for group in coupon.groups_of(lines):
            ids = [line.id for line in lines if line.id in group.line_ids]
            bases = [rest[line_id] for line_id in ids]
            base = exact_sum(bases)
            discount = discount_on(coupon, base, digits, group.most)
            if discount <= 0:
                continue
            shares = tuple(zip(ids, allocate(discount, bases, digits), strict=True))
            for line_id, share in shares:
                rest[line_id] = EXACT.subtract(rest[line_id], share)
            taken = tuple(share for share in shares if share[1])
            applied.append(CouponApplication(coupon, position, None, base, discount, taken, group.period_start))
    return applied
