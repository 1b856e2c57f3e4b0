"""Coupons on an invoice: what each takes off, and how the invoice-level sum falls on the lines.

Which coupons apply, and in which order, the caller decides; order matters between percentages and fixed amounts,
because invoice coupons chain.
Rule: docs/rules/discounts-and-taxes.md#coupons-on-lines
Rule: docs/rules/discounts-and-taxes.md#coupons-on-the-invoice
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
class Coupon:
    """A coupon that applies: `off` is an amount in the invoice's currency, or a percentage above 0 up to 100.

    `target` is the subscription line item, or else the price, whose lines it discounts; None is the whole invoice.
    `also` are the versions that have followed the line item: together they are one charge, discounted once.
    """

    id: str
    type: CouponType
    off: Decimal
    target: str | None = None
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.off <= 0:
            raise ValueError(f"a coupon must take off more than 0, not {self.off}")
        if self.type is CouponType.PERCENTAGE and self.off > 100:
            raise ValueError(f"a coupon must take off at most 100 percent, not {self.off}")


@dataclass(frozen=True, slots=True)
class CouponApplication:
    """What one coupon took off, rounded and above 0: off one line, or (`line_id` None) off the invoice.

    `original_price` is what it was computed on: the gross line, or what earlier invoice coupons had left.
    """

    coupon: Coupon
    line_id: str | None
    original_price: Decimal
    discounted_amount: Decimal

    @property
    def final_price(self) -> Decimal:
        return EXACT.subtract(self.original_price, self.discounted_amount)


def discount_on(coupon: Coupon, base: Decimal, digits: int) -> Decimal:
    """What a coupon takes off `base`, rounded, at most `base` (which has at most `digits` decimals)."""
    if coupon.type is CouponType.PERCENTAGE:
        return min(round_to(Fraction(base) * Fraction(coupon.off) / 100, digits), base)
    return min(round_to(coupon.off, digits), base)


def line_applications(lines: Sequence[ChargeLine], coupons: Sequence[Coupon], digits: int) -> list[CouponApplication]:
    """Line coupons, each computed on the gross amount of its lines, together capped at each line's amount.

    Line amounts are rounded already. A coupon without a line here takes nothing off. A fixed coupon that meets
    several lines of its target (a usage charge and its overage, say) is spent once, spread by their amounts.
    Coupons without a target are not looked at.
    """
    left = {line.id: line.amount for line in lines}
    applied: list[CouponApplication] = []
    for coupon in coupons:
        targeted = _targeted(lines, coupon)
        for line, wanted in zip(targeted, _wanted(coupon, targeted, digits), strict=True):
            discount = min(wanted, left[line.id])
            left[line.id] = EXACT.subtract(left[line.id], discount)
            if discount > 0:
                applied.append(CouponApplication(coupon, line.id, line.amount, discount))
    return applied


def _targeted(lines: Sequence[ChargeLine], coupon: Coupon) -> list[ChargeLine]:
    """The lines a coupon names, by id, so that a spread does not depend on the order of lines."""
    if coupon.target is None:
        return []
    versions = {coupon.target, *coupon.also}
    named = [line for line in lines if line.subscription_line_item_id in versions]
    named = named or [line for line in lines if line.price_id == coupon.target]
    return sorted(named, key=lambda line: line.id)


def _wanted(coupon: Coupon, lines: Sequence[ChargeLine], digits: int) -> list[Decimal]:
    if coupon.type is CouponType.PERCENTAGE:
        return [discount_on(coupon, line.amount, digits) for line in lines]
    gross = [line.amount for line in lines]
    return allocate(discount_on(coupon, exact_sum(gross), digits), gross, digits)


def invoice_applications(base: Decimal, coupons: Sequence[Coupon], digits: int) -> list[CouponApplication]:
    """Invoice coupons in the order given, each on what the earlier ones left of `base`, until nothing is left.

    `base` is the rounded subtotal less the line discounts. Coupons with a target are not looked at.
    """
    running = base
    applied: list[CouponApplication] = []
    for coupon in coupons:
        if coupon.target is not None:
            continue
        discount = discount_on(coupon, running, digits)
        if discount > 0:
            applied.append(CouponApplication(coupon, None, running, discount))
        running = EXACT.subtract(running, discount)
    return applied


def distributed(discount: Decimal, nets: Sequence[Decimal], digits: int) -> list[Decimal]:
    """Each line's share of the invoice-level discount, by largest remainder over what its own coupons left of it.

    `nets` in stable line order (creation, id), rounded; the shares sum to min(`discount`, sum of `nets`) and none
    exceeds its net.
    Rule: docs/rules/discounts-and-taxes.md#distribution-over-lines
    """
    return allocate(min(discount, exact_sum(nets)), nets, digits)
