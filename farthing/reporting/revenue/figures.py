"""What a line earns, explained: its usage at the list price, tiers, allowance and discounts. Pure.

`usage_at_list_rate + tier_delta - entitlement_amount - line_discount - invoice_discount = net_amount`, exactly.
Rule: docs/rules/reporting.md#a-line-explained
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.pricing.price import BillingModel, RatedPrice

LIST_DIGITS = 15
"""To how many digits usage at the list price is told: as many as quantities have."""


@dataclass(frozen=True, slots=True)
class RevenueFigures:
    """What a line, or a part of one, comes to; no tax, and before prepaid credits."""

    usage_at_list_rate: Decimal = ZERO
    tier_delta: Decimal = ZERO
    entitlement_qty: Decimal = ZERO
    entitlement_amount: Decimal = ZERO
    billable_qty: Decimal = ZERO
    line_discount: Decimal = ZERO
    invoice_discount: Decimal = ZERO

    @property
    def net_amount(self) -> Decimal:
        """What the customer is charged."""
        gross = EXACT.add(self.usage_at_list_rate, self.tier_delta)
        return EXACT.subtract(gross, exact_sum([self.entitlement_amount, self.line_discount, self.invoice_discount]))

    def __add__(self, other: RevenueFigures) -> RevenueFigures:
        return RevenueFigures(*(EXACT.add(mine, theirs) for mine, theirs in zip(_of(self), _of(other), strict=True)))

    def __sub__(self, other: RevenueFigures) -> RevenueFigures:
        return self + -other

    def __neg__(self) -> RevenueFigures:
        return RevenueFigures(*(figure.copy_negate() + ZERO for figure in _of(self)))


def _of(figures: RevenueFigures) -> list[Decimal]:
    return [getattr(figures, field.name) for field in fields(figures)]


def added(parts: Iterable[RevenueFigures]) -> RevenueFigures:
    """The sum of parts."""
    total = RevenueFigures()
    for part in parts:
        total = total + part
    return total


def figures_of_fee(
    amount: Decimal, quantity: Decimal, line_discount: Decimal, invoice_discount: Decimal
) -> RevenueFigures:
    """A fee, a one-off charge or anything else that is not priced by usage: its amount is its list price."""
    return RevenueFigures(
        usage_at_list_rate=amount,
        billable_qty=quantity,
        line_discount=line_discount,
        invoice_discount=invoice_discount,
    )


def figures_of_usage(
    net: Decimal,
    raw: Decimal,
    covered: Decimal,
    rate: Fraction,
    line_discount: Decimal,
    invoice_discount: Decimal,
) -> RevenueFigures:
    """Usage of `raw` units, `covered` of them included: what is left after list price and allowance is the tiers'."""
    at_list = round_to(Fraction(raw) * rate, LIST_DIGITS)
    included = round_to(Fraction(covered) * rate, LIST_DIGITS)
    charged = exact_sum([net, line_discount, invoice_discount, included])
    return RevenueFigures(
        usage_at_list_rate=at_list,
        tier_delta=EXACT.subtract(charged, at_list),
        entitlement_qty=covered,
        entitlement_amount=included,
        billable_qty=EXACT.subtract(raw, covered),
        line_discount=line_discount,
        invoice_discount=invoice_discount,
    )


def list_rate(price: RatedPrice) -> Fraction:
    """What a unit costs by the list: the amount, the package's amount by its size, or the first tier's amount."""
    match price.model:
        case BillingModel.PACKAGE:
            return Fraction(price.amount) / price.package_size
        case BillingModel.TIERED:
            return Fraction(price.tiers[0].unit_amount) if price.tiers else Fraction(0)
    return Fraction(price.amount)
