"""What a conversion makes of lines, discounts, credits and taxes: the worked numbers, and what holds for any."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.enums import PriceType
from farthing.core.money import decimals, exact_sum
from farthing.rating.totals.calculation import invoice_totals
from farthing.rating.totals.conversion import (
    CurrencyConversion,
    converted_line,
    converted_share,
    converted_totals,
)
from farthing.rating.totals.discounts import Coupon, CouponType
from farthing.rating.totals.lines import ChargeLine, LineTotals
from farthing.rating.totals.taxes import TaxRate, TaxRateType


def line(amount: str, discount: str = "0", credits_taken: str = "0", shared: str = "0") -> LineTotals:
    return LineTotals(
        "line", Decimal(amount), PriceType.USAGE, Decimal(discount), Decimal(shared), Decimal(credits_taken)
    )


@pytest.mark.parametrize(
    ("given_line", "rate", "digits", "net", "discount", "credits_taken", "amount"),
    [
        pytest.param(line("19.99", "2", "1"), "83.125", 2, "1412.29", "166.25", "83.13", "1661.67", id="FX1"),
        pytest.param(line("0.02", "0.01"), "1.5", 2, "0.02", "0.02", "0", "0.04", id="FX2"),
        pytest.param(line("10", "3.33"), "150.05", 0, "1001", "500", "0", "1501", id="FX3"),
        pytest.param(line("10"), "0.3071", 3, "3.071", "0", "0", "3.071", id="FX4"),
        pytest.param(line("100", "100"), "0.92", 2, "0", "92", "0", "92", id="a line that is discounted away"),
        pytest.param(line("0"), "83.125", 2, "0", "0", "0", "0", id="a line of nothing"),
        pytest.param(line("0.01"), "0.004", 2, "0", "0", "0", "0", id="less than half a minor unit"),
        pytest.param(line("0.01"), "0.5", 2, "0.01", "0", "0", "0.01", id="half a minor unit goes up"),
        pytest.param(line("7.77", "1.11", "2.22", "0"), "1.000000000001", 2, "4.44", "1.11", "2.22", "7.77", id="par"),
    ],
)
def test_a_line_in_another_currency(
    given_line: LineTotals, rate: str, digits: int, net: str, discount: str, credits_taken: str, amount: str
) -> None:
    converted = converted_line(given_line, CurrencyConversion(Decimal(rate), digits))
    figures = (converted.net, converted.line_item_discount, converted.prepaid_credits_applied, converted.amount)
    assert figures == (Decimal(net), Decimal(discount), Decimal(credits_taken), Decimal(amount))


def test_tax_is_charged_on_what_was_converted() -> None:
    """FX1: 18 % of 1661.67 less 166.25; credits do not lower it."""
    charges = [ChargeLine("line", Decimal("19.99"), PriceType.USAGE, price_id="price")]
    coupon = Coupon("two", CouponType.FIXED, Decimal(2), target="price")
    source = invoice_totals(charges, 2, coupons=[coupon], prepaid_value=Decimal(1))
    rate = TaxRate("gst", TaxRateType.PERCENTAGE, Decimal(18))
    totals = converted_totals(source, charges, CurrencyConversion(Decimal("83.125"), 2), tax_rates=[rate])
    assert [tax.taxable_amount for tax in totals.taxes] == [Decimal("1495.42")]
    assert (totals.total_tax, totals.total) == (Decimal("269.18"), Decimal("1681.47"))
    assert [applied.discounted_amount for applied in totals.coupon_applications] == [Decimal("166.25")]


@pytest.mark.parametrize(
    ("part", "source", "converted", "given_back"),
    [
        pytest.param("8.995", "17.99", "1495.42", "747.71", id="FX7: half of what was converted"),
        pytest.param("17.99", "17.99", "1495.42", "1495.42", id="all of it, to the minor unit"),
        pytest.param("0", "17.99", "1495.42", "0", id="nothing of it"),
        pytest.param("0.01", "30", "2493.75", "0.83", id="a cent of it"),
        pytest.param("10", "30", "1", "0.33", id="a third of one"),
        pytest.param("1", "0", "0", "0", id="a line that cost nothing"),
    ],
)
def test_what_is_given_back_is_a_share_of_what_was_paid(
    part: str, source: str, converted: str, given_back: str
) -> None:
    share = converted_share(Fraction(part), Decimal(source), Decimal(converted), 2)
    assert share == Decimal(given_back)


@pytest.mark.parametrize("rate", ["0", "-1"])
def test_a_rate_is_above_nothing(rate: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        CurrencyConversion(Decimal(rate), 2)


amounts = st.decimals(0, 100_000, places=2)
rates = st.decimals(Decimal("0.000001"), 100_000, places=6)
coupons = st.lists(
    st.builds(
        lambda number, percent, off, target: Coupon(
            f"coupon-{number}",
            CouponType.PERCENTAGE if percent else CouponType.FIXED,
            min(off, Decimal(100)) if percent else off,
            target=target,
        ),
        st.integers(0, 9),
        st.booleans(),
        st.decimals(Decimal("0.01"), 5_000, places=2),
        st.sampled_from([None, "price-0", "price-1"]),
    ),
    max_size=3,
)


@given(
    charged=st.lists(amounts, min_size=1, max_size=5),
    taken=coupons,
    prepaid=amounts,
    paid_after=amounts,
    rate=rates,
    digits=st.sampled_from([0, 2, 3]),
    percentage=st.decimals(0, 100, places=4),
)
def test_whatever_is_converted_the_parts_come_to_the_whole(
    charged: list[Decimal],
    taken: list[Coupon],
    prepaid: Decimal,
    paid_after: Decimal,
    rate: Decimal,
    digits: int,
    percentage: Decimal,
) -> None:
    charges = [
        ChargeLine(f"line-{number}", amount, PriceType.USAGE, price_id=f"price-{number % 2}")
        for number, amount in enumerate(charged)
    ]
    source = invoice_totals(charges, 2, coupons=taken, prepaid_value=prepaid)
    conversion = CurrencyConversion(rate, digits)
    tax = TaxRate("tax", TaxRateType.PERCENTAGE, percentage)
    totals = converted_totals(source, charges, conversion, tax_rates=[tax], prepaid_value=paid_after)

    assert totals.subtotal == exact_sum([line.amount for line in totals.lines])
    assert totals.total_discount == exact_sum([line.discount for line in totals.lines])
    assert totals.total_discount == exact_sum([row.discounted_amount for row in totals.coupon_applications])
    for applied in totals.coupon_applications:
        assert applied.discounted_amount == exact_sum([share for _, share in applied.shares])
    before_tax = totals.subtotal - totals.total_discount - totals.total_prepaid_credits_applied
    assert totals.total == before_tax + totals.total_tax
    for before, after in zip(source.lines, totals.lines, strict=True):
        more_credits = after.prepaid_credits_applied - conversion.converted(before.prepaid_credits_applied)
        assert after.net == conversion.converted(before.net) - more_credits
        assert after.net >= 0
        figures = (after.amount, after.line_item_discount, after.invoice_level_discount, after.net)
        assert all(decimals(figure) <= digits for figure in figures)
    plain_again = converted_totals(source, charges, CurrencyConversion(Decimal(1), 2), tax_rates=[tax])
    assert [line.net for line in plain_again.lines] == [line.net for line in source.lines]


@given(source=st.decimals(Decimal("0.01"), 10_000, places=2), rate=rates, cuts=st.lists(st.integers(1, 9), max_size=4))
def test_no_share_is_more_than_what_was_paid(source: Decimal, rate: Decimal, cuts: list[int]) -> None:
    """However a line is given back, each part is within it, and more of it is never less."""
    paid = CurrencyConversion(rate, 2).converted(source)
    parts = sorted(Fraction(source) * cut / 10 for cut in cuts)
    shares = [converted_share(part, source, paid, 2) for part in parts]
    assert shares == sorted(shares)
    assert all(0 <= share <= paid for share in shares)
    assert converted_share(Fraction(source), source, paid, 2) == paid
