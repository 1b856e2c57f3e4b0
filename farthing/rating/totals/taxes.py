"""Taxes on an invoice: exclusive, each rate on its own, never compounded.

Which rates a line carries the caller decides; the lines of a trial-start invoice carry none.
Rule: docs/rules/discounts-and-taxes.md#tax-on-an-invoice
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from farthing.core.money import allocate, exact_sum, round_to


class TaxRateType(StrEnum):
    """A percentage of the nets of the lines that carry it, or a fixed amount per invoice."""

    PERCENTAGE = "percentage"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A rate that applies: `value` is a percentage from 0 to 100, or an amount in the invoice's currency."""

    id: str
    type: TaxRateType
    value: Decimal

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("a tax must not be negative")
        if self.type is TaxRateType.PERCENTAGE and self.value > 100:
            raise ValueError(f"a tax must be at most 100 percent, not {self.value}")


@dataclass(frozen=True, slots=True)
class TaxApplied:
    """One rate's tax on an invoice, rounded; `taxable_amount` is the sum of the nets of the lines that carry it.

    `shares` is the tax of each line that carries the rate, in the order of the lines; they sum to `tax_amount`.
    """

    rate: TaxRate
    taxable_amount: Decimal
    tax_amount: Decimal
    shares: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class TaxableLine:
    """A line as taxes see it: `net` is its amount less its discounts; it carries all rates where `rate_ids` is None."""

    id: str
    net: Decimal
    rate_ids: frozenset[str] | None = None

    def carries(self, rate: TaxRate) -> bool:
        return self.rate_ids is None or rate.id in self.rate_ids


def applied_taxes(lines: Sequence[TaxableLine], rates: Sequence[TaxRate], digits: int) -> list[TaxApplied]:
    """Each rate's tax on the nets of the lines that carry it, rounded once per rate.

    A rate that none of the lines carries is left out; an invoice without lines has all rates it is given. A fixed tax
    is charged once, also when its lines come to nothing.
    """
    taxes = []
    for rate in rates:
        carriers = [line for line in lines if line.carries(rate)]
        if carriers or not lines:
            taxable = exact_sum([line.net for line in carriers])
            tax = _tax(taxable, rate, digits)
            taxes.append(TaxApplied(rate, taxable, tax, _shares(carriers, tax, digits)))
    return taxes


def _shares(carriers: Sequence[TaxableLine], tax: Decimal, digits: int) -> tuple[tuple[str, Decimal], ...]:
    """The tax split over the nets of its lines by largest remainder; evenly where all of them came to nothing."""
    if not carriers:
        return ()
    nets = [line.net for line in carriers]
    weights = nets if any(nets) else [Decimal(1)] * len(carriers)
    return tuple(zip([line.id for line in carriers], allocate(tax, weights, digits), strict=True))


def _tax(taxable: Decimal, rate: TaxRate, digits: int) -> Decimal:
    if rate.type is TaxRateType.FIXED:
        return round_to(rate.value, digits)
    return round_to(Fraction(taxable) * Fraction(rate.value) / 100, digits)
