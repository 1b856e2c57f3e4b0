"""What is left of an invoice, and how much of it stands for usage."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core import currency
from farthing.core.money import decimals
from farthing.rating.totals.balance import balance, usage_share
from farthing.rating.totals.lines import net_amount

D = Decimal


@pytest.mark.parametrize(
    ("total", "adjustment", "paid", "expected"),
    [
        pytest.param("100", "0", "40", (100, 60, 0), id="W23 part paid"),
        pytest.param("100", "0", "100", (100, 0, 0), id="W23 paid"),
        pytest.param("100", "0", "120", (100, 0, 20), id="W24 overpaid"),
        pytest.param("100", "50", "40", (50, 10, 0), id="W26 adjusted"),
        pytest.param("100", "60", "40", (40, 0, 0), id="W26 adjusted to what was paid"),
    ],
)
def test_the_balance(total, adjustment, paid, expected):
    got = balance(D(total), D(adjustment), D(paid))
    assert (got.amount_due, got.amount_remaining, got.overpaid_amount) == expected


@pytest.mark.parametrize(
    ("remaining", "usage", "net_total", "code", "expected"),
    [
        pytest.param("70", "60", "100", "usd", "42", id="part payment splits by what is left"),
        pytest.param("106.2", "54", "90", "usd", "63.72", id="tax is spread over the lines"),
        pytest.param("40", "0", "40", "usd", "0", id="usage fully covered by credits"),
        pytest.param("10", "1", "3", "usd", "3.33", id="a third in dollars"),
        pytest.param("1000", "1", "3", "jpy", "333", id="a third in yen"),
        pytest.param("10", "1", "3", "kwd", "3.333", id="a third in dinars"),
        pytest.param("0.01", "1", "2", "usd", "0.01", id="half a cent rounds up"),
        pytest.param("75", "60", "100", "usd", "45", id="after an adjustment note"),
        pytest.param("9", "0", "0", "usd", "0", id="a rest without lines is fixed"),
        pytest.param("0.005", "1", "1", "usd", "0.005", id="never more than what remains"),
        pytest.param("50", "50", "80", "usd", "31.25", id="W36"),
    ],
)
def test_the_usage_share_of_what_remains(remaining, usage, net_total, code, expected):
    assert usage_share(D(remaining), D(usage), D(net_total), currency.digits(code)) == D(expected)


def test_the_net_of_a_line_reads_missing_figures_as_zero_and_stops_at_zero():
    assert net_amount(D(80), D(20), D(6)) == 54
    assert net_amount(D(40), None, D(4), None) == 36
    assert net_amount(D(50), D(30), D(10), D(20)) == 0


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([0, 2, 3, 4]))
@settings(max_examples=150)
def test_usage_and_fixed_make_up_what_remains(remaining, usage, fixed, digits):
    left, net_usage, net_fixed = (D(units).scaleb(-digits) for units in (remaining, usage, fixed))
    got = usage_share(left, net_usage, net_usage + net_fixed, digits)
    assert 0 <= got <= left
    assert decimals(got) <= digits
    if usage and not fixed:
        assert got == left
    if not usage:
        assert got == 0
