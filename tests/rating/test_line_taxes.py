"""Taxes line by line: each rate is charged on the lines that carry it, and each line has its share of the tax."""

from __future__ import annotations

from decimal import Decimal

import pytest

from farthing.rating.totals.calculation import InvoiceTotals, invoice_totals
from farthing.rating.totals.discounts import Coupon, CouponType
from farthing.rating.totals.lines import ChargeLine
from farthing.rating.totals.taxes import TaxRate, TaxRateType

RATES = [
    TaxRate("nineteen", TaxRateType.PERCENTAGE, Decimal(19)),
    TaxRate("sixteen", TaxRateType.PERCENTAGE, Decimal(16)),
    TaxRate("levy", TaxRateType.FIXED, Decimal("2.50")),
]


def invoice(*charges: tuple[str, str], off: str = "", wallet: str = "0") -> InvoiceTotals:
    """An invoice of (amount, rates separated by blanks)."""
    lines = [
        ChargeLine(f"line-{i}", Decimal(amount), tax_rate_ids=frozenset(rates.split()))
        for i, (amount, rates) in enumerate(charges)
    ]
    coupons = [Coupon("half", CouponType.PERCENTAGE, Decimal(off))] if off else []
    return invoice_totals(lines, 2, coupons=coupons, tax_rates=RATES, prepaid_value=Decimal(wallet))


def taxes(totals: InvoiceTotals) -> list[tuple[str, str, str]]:
    return [(tax.rate.id, f"{tax.taxable_amount:.2f}", f"{tax.tax_amount:.2f}") for tax in totals.taxes]


def test_two_rates_on_two_lines() -> None:
    totals = invoice(("100", "nineteen"), ("100", "sixteen"))
    assert taxes(totals) == [("nineteen", "100.00", "19.00"), ("sixteen", "100.00", "16.00")]
    assert [line.tax for line in totals.lines] == [Decimal(19), Decimal(16)]
    assert totals.total == Decimal(235)


def test_a_fixed_rate_is_charged_once_when_any_line_carries_it() -> None:
    assert taxes(invoice(("10", "levy"), ("30", "levy"), ("5", ""))) == [("levy", "40.00", "2.50")]
    assert taxes(invoice(("5", ""))) == []
    assert taxes(invoice(("0", "levy"), ("0", "levy"))) == [("levy", "0.00", "2.50")]


def test_a_rate_is_rounded_once_and_split_by_largest_remainder() -> None:
    totals = invoice(("0.03", "nineteen"), ("0.03", "nineteen"), ("0.03", "nineteen"))
    assert taxes(totals) == [("nineteen", "0.09", "0.02")]
    assert [line.tax for line in totals.lines] == [Decimal("0.01"), Decimal("0.01"), Decimal(0)]


def test_the_base_is_net_of_discounts() -> None:
    totals = invoice(("100", "nineteen"), ("50", "sixteen"), off="50")
    assert taxes(totals) == [("nineteen", "50.00", "9.50"), ("sixteen", "25.00", "4.00")]


@pytest.mark.parametrize("wallet", ["0", "30"])
def test_what_no_line_carries_is_not_charged(wallet: str) -> None:
    totals = invoice(("100", "sixteen"), wallet=wallet)
    assert taxes(totals) == [("sixteen", "100.00", "16.00")]
    assert [rate for rate, _ in totals.lines[0].taxes] == ["sixteen"]
