"""Taxes on an invoice: exclusive, each rate on its own, never compounded.

Which rates apply the caller decides; a trial-start invoice has none.
Rule: docs/rules/discounts-and-taxes.md#tax-on-an-invoice
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from farthing.core.money import round_to


class TaxRateType(StrEnum):
    """A percentage of the taxable amount, or a fixed amount per invoice."""

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
    """One rate's tax on an invoice, rounded."""

    rate: TaxRate
    taxable_amount: Decimal
    tax_amount: Decimal


def applied_taxes(taxable: Decimal, rates: Sequence[TaxRate], digits: int) -> list[TaxApplied]:
    """Each rate's tax on `taxable`, rounded one by one; a fixed tax is charged even when nothing is taxable."""
    return [TaxApplied(rate, taxable, _tax(taxable, rate, digits)) for rate in rates]


def _tax(taxable: Decimal, rate: TaxRate, digits: int) -> Decimal:
    if rate.type is TaxRateType.FIXED:
        return round_to(rate.value, digits)
    return round_to(Fraction(taxable) * Fraction(rate.value) / 100, digits)
