"""Amounts in Stripe's units: exact, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.payments.stripe.amounts import STRIPE_UNITS, InexactAmount, from_stripe_amount, to_stripe_amount


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        pytest.param("10", "usd", 1000, id="ten dollars are a thousand cents"),
        pytest.param("0.01", "eur", 1, id="a cent"),
        pytest.param("10.450", "huf", 1045, id="forints are charged with fillér"),
        pytest.param("800.5", "twd", 80050, id="Taiwan dollars have cents"),
        pytest.param("500", "jpy", 500, id="yen are whole"),
        pytest.param("500.00", "krw", 500, id="noughts behind the point change nothing"),
        pytest.param("5", "mga", 5, id="ariary are whole there"),
        pytest.param("5", "isk", 500, id="krónur are written as hundredths"),
        pytest.param("5", "ugx", 500, id="Ugandan shillings are written as hundredths"),
        pytest.param("5.12", "kwd", 5120, id="dinars end in nought"),
        pytest.param("0.01", "bhd", 10, id="the smallest amount of Bahrain"),
        pytest.param("999999999999.99", "usd", 99999999999999, id="a very large amount"),
    ],
)
def test_an_amount_in_units(amount: str, currency: str, units: int) -> None:
    assert to_stripe_amount(Decimal(amount), currency) == units
    assert from_stripe_amount(units, currency) == Decimal(amount)


@pytest.mark.parametrize(
    ("amount", "currency", "step"),
    [
        ("0.001", "usd", "0.01"),
        ("0.5", "jpy", "1"),
        ("5.20", "mga", "1"),
        ("5.50", "isk", "1"),
        ("1.01", "ugx", "1"),
        ("5.124", "kwd", "0.01"),
        ("0.001", "tnd", "0.01"),
    ],
)
def test_what_stripe_cannot_take_is_refused_with_what_it_can(amount: str, currency: str, step: str) -> None:
    with pytest.raises(InexactAmount, match=rf"multiple of {step}$"):
        to_stripe_amount(Decimal(amount), currency)


@given(
    st.decimals(min_value=0, max_value=10**12, places=4), st.sampled_from(["usd", "eur", "clf", *sorted(STRIPE_UNITS)])
)
def test_whatever_is_taken_comes_back_as_it_was(amount: Decimal, currency: str) -> None:
    try:
        units = to_stripe_amount(amount, currency)
    except InexactAmount:
        return
    assert from_stripe_amount(units, currency) == amount
