"""The money of an invoice: the worked invoices as a table, and what must hold for any invoice."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core import currency
from farthing.core.enums import PriceType
from farthing.core.money import decimals, exact_sum, floor_to, round_to
from farthing.rating.totals.calculation import InvoiceTotals, invoice_totals
from farthing.rating.totals.discounts import Coupon, CouponType, discount_on, invoice_applications
from farthing.rating.totals.lines import ChargeLine
from farthing.rating.totals.taxes import TaxRate, TaxRateType

D = Decimal


def numbers(text: str) -> list[Decimal]:
    return [D(word) for word in text.split()]


def lines(text: str) -> list[ChargeLine]:
    """`"U80 F20"` is a usage line of 80, priced by price-0 for item-0, and a fixed line of 20."""
    kinds = {"U": PriceType.USAGE, "F": PriceType.FIXED}
    return [
        ChargeLine(f"line-{i:03}", D(word[1:]), kinds[word[0]], f"item-{i}", f"price-{i}")
        for i, word in enumerate(text.split())
    ]


def coupons(text: str) -> list[Coupon]:
    """`"25%@item-0 10"` is 25 percent off line item item-0, then 10 off the invoice."""
    made = []
    for i, word in enumerate(text.split()):
        off, _, target = word.partition("@")
        kind = CouponType.PERCENTAGE if off.endswith("%") else CouponType.FIXED
        made.append(Coupon(f"coupon-{i}", kind, D(off.rstrip("%")), target or None))
    return made


def rates(text: str) -> list[TaxRate]:
    """`"8.25% 2.50"` is a percentage and a fixed tax."""
    return [
        TaxRate(f"rate-{i}", TaxRateType.PERCENTAGE if word.endswith("%") else TaxRateType.FIXED, D(word.rstrip("%")))
        for i, word in enumerate(text.split())
    ]


def invoice(charges: str, off: str = "", tax: str = "", wallet: str = "0", code: str = "usd") -> InvoiceTotals:
    return invoice_totals(
        lines(charges),
        currency.digits(code),
        coupons=coupons(off),
        tax_rates=rates(tax),
        prepaid_value=D(wallet),
    )


def worked(id_: str, charges: str, *, off="", tax="", wallet="0", code="usd", **expected: str):
    return pytest.param({"charges": charges, "off": off, "tax": tax, "wallet": wallet, "code": code}, expected, id=id_)


WORKED = [
    worked(
        "W1 a line coupon, an invoice coupon, credits and tax",
        "U80 F20",
        off="25%@item-0 10",
        wallet="5",
        tax="8.25%",
        subtotal="100.00",
        by_line="20 0",
        by_invoice="7.50 2.50",
        discount="30.00",
        credit="5.00 0",
        taxable="70.00",
        taxes="5.78",
        total="70.78",
    ),
    worked(
        "W2 an invoice coupon works on what the line coupon left",
        "U100",
        off="10%@item-0 20%",
        wallet="10",
        by_line="10",
        by_invoice="18",
        discount="28.00",
        credit="10",
        total="62.00",
    ),
    worked("W3 ten percent twice is nineteen", "F100", off="10% 10%", applied="10 9", total="81"),
    worked("W4 percentage before fixed", "F100", off="10% 10", applied="10 10", total="80"),
    worked("W4 fixed before percentage", "F100", off="10 10%", applied="10 9", total="81"),
    worked(
        "W5 the odd cent goes to the larger remainder",
        "U0.33 U0.34 U0.33",
        off="10%",
        wallet="0.05",
        by_invoice="0.03 0.04 0.03",
        credit="0.05 0 0",
        total="0.85",
    ),
    worked(
        "W6 half off a hundred cents takes fifty of them",
        " ".join(["F0.01"] * 100),
        off="50%",
        by_invoice=" ".join(["0.01"] * 50 + ["0"] * 50),
        discount="0.50",
        total="0.50",
    ),
    worked(
        "W7 a line coupon is capped at its line",
        "U30 U70",
        off="40@item-0",
        wallet="20",
        by_line="30 0",
        credit="0 20",
        total="50",
    ),
    worked(
        "W8 two line coupons are capped together",
        "F100 F50",
        off="60%@item-0 60%@item-0",
        by_line="100 0",
        applied="60 40",
        subtotal="150",
        discount="100",
        total="50",
    ),
    worked(
        "W9 three taxes are rounded one by one", "F33.33", tax="3.5% 3.5% 3.5%", taxes="1.17 1.17 1.17", total="36.84"
    ),
    worked("W10 tax in yen", "F1023", tax="10%", code="jpy", taxes="102", total="1125"),
    worked(
        "W11 a discount in yen",
        "F333 F333 F334",
        off="15.5%",
        tax="10%",
        code="jpy",
        by_invoice="52 51 52",
        discount="155",
        taxable="845",
        taxes="85",
        total="930",
    ),
    worked("W12 three decimals in dinars", "F12.345", tax="5%", code="kwd", taxes="0.617", total="12.962"),
    worked(
        "W13 credits pay all that a discount left",
        "U30 U70",
        off="50",
        wallet="100",
        by_invoice="15 35",
        credit="15 35",
        total="0",
    ),
    worked(
        "W14 credits pay usage only and do not lower the tax",
        "U40 F60",
        wallet="100",
        tax="10%",
        credit="40 0",
        taxable="100",
        taxes="10",
        total="70",
    ),
    worked("W15 credits run out on the second line", "U20 U50", wallet="55", credit="20 35", total="15"),
    worked("W16 dust stays in the wallet", "U20", wallet="10.009", credit="10.00", total="10.00"),
    worked(
        "W17 tax remains when credits paid the rest", "U50", wallet="80", tax="10%", credit="50", taxes="5", total="5"
    ),
    worked(
        "W18 a discount and credits on crooked amounts",
        "U50.33 U49.67",
        off="12.5%",
        wallet="8.27",
        by_invoice="6.29 6.21",
        credit="8.27 0",
        discount="12.50",
        total="79.23",
    ),
    worked(
        "W19 invoice coupons stop at zero",
        "F30 F20",
        off="30 30 5",
        tax="10%",
        applied="30 20",
        discount="50",
        taxable="0",
        taxes="0",
        total="0",
    ),
    worked(
        "W20 a fixed tax stands when nothing is taxable",
        "F10",
        off="100%",
        tax="2.50",
        taxable="0",
        taxes="2.50",
        total="2.50",
    ),
    worked(
        "W21 three thirds of a hundred",
        "F33.333334 F33.333334 F33.333334",
        amounts="33.33 33.33 33.33",
        subtotal="99.99",
        total="99.99",
    ),
    worked("W22 half off and a fixed tax", "F10", off="50%", tax="2.50", taxable="5", taxes="2.50", total="7.50"),
    worked(
        "W22 a trial start has no amounts and no tax", "F0", off="50%", applied="", taxable="0", taxes="", total="0"
    ),
    worked(
        "W38 an edited draft recomputes discount and tax",
        "F50",
        off="20%",
        tax="10%",
        discount="10",
        taxable="40",
        taxes="4",
        total="44",
    ),
    worked("two rates after a discount", "F200", off="20", tax="9% 9%", taxes="16.20 16.20", total="212.40"),
    worked("the same with credits", "U200", off="20", tax="9% 9%", wallet="50", taxes="16.20 16.20", total="162.40"),
    worked("two rates round apart", "F47.35", tax="6.625% 2.375%", taxes="3.14 1.12", total="51.61"),
    worked("a tax of 8.875 percent", "F100", tax="8.875%", taxes="8.88", total="108.88"),
    worked("a tax rounded down", "F123.45", tax="7.25%", taxes="8.95", total="132.40"),
    worked("a tax in yen rounded up", "F999", tax="10.5%", code="jpy", taxes="105", total="1104"),
    worked(
        "a fully discounted invoice pays the fixed tax", "F10", off="100%", tax="5% 1.50", taxes="0 1.50", total="1.50"
    ),
    worked("a coupon finds its line by price", "F10 F20", off="50%@price-1", by_line="0 10", total="20"),
    worked("a coupon whose line is not here is ignored", "F10", off="5@item-9", by_line="0", applied="", total="10"),
    worked("an invoice without lines", "", off="10", tax="10% 2", wallet="5", taxes="0 2", subtotal="0", total="2"),
]


@pytest.mark.parametrize(("given_", "expected"), WORKED)
def test_worked_invoices(given_, expected):
    got = invoice(**given_)
    shown = {
        "amounts": [line.amount for line in got.lines],
        "by_line": [line.line_item_discount for line in got.lines],
        "by_invoice": [line.invoice_level_discount for line in got.lines],
        "credit": [line.prepaid_credits_applied for line in got.lines],
        "applied": [applied.discounted_amount for applied in got.coupon_applications],
        "taxes": [tax.tax_amount for tax in got.taxes],
        "subtotal": [got.subtotal],
        "discount": [got.total_discount],
        "taxable": [got.taxable_amount],
        "total": [got.total],
    }
    assert {name: shown[name] for name in expected} == {name: numbers(value) for name, value in expected.items()}


@pytest.mark.parametrize(
    ("coupon", "base", "code", "expected"),
    [
        ("15%", "33.33", "usd", "5.00"),
        ("50%", "0.03", "usd", "0.02"),
        ("20", "12.50", "usd", "12.50"),
        ("12.5%", "1001", "jpy", "125"),
        ("0.005", "10", "usd", "0.01"),
    ],
)
def test_a_discount_is_rounded_and_capped(coupon, base, code, expected):
    assert discount_on(coupons(coupon)[0], D(base), currency.digits(code)) == D(expected)


def distributed(discount, nets, digits):
    """What each line has of an amount that one coupon takes off them."""
    lines = [ChargeLine(str(place), net) for place, net in enumerate(nets)]
    coupons = [Coupon("c", CouponType.FIXED, discount)] if discount else []
    taken = invoice_applications(lines, {line.id: line.amount for line in lines}, coupons, digits)
    shares = dict(share for applied in taken for share in applied.shares)
    return [shares.get(line.id, D(0)) for line in lines]


@pytest.mark.parametrize(
    ("discount", "nets", "shares"),
    [
        ("10", "33.34 33.33 33.33", "3.34 3.33 3.33"),
        ("5.55", "60 30 10", "3.33 1.67 0.55"),
        ("0.02", "0.01 0.01 0.01 0.01", "0.01 0.01 0 0"),
        ("0.40", " ".join(["0.01"] * 100), " ".join(["0.01"] * 40 + ["0"] * 60)),
        ("7", "5 0 1", "5 0 1"),
        ("0", "0 0", "0 0"),
    ],
)
def test_a_discount_is_distributed_to_the_last_cent(discount, nets, shares):
    assert distributed(D(discount), numbers(nets), 2) == numbers(shares)


def test_coupon_applications_tell_what_they_were_computed_on():
    got = invoice("F100 F50", off="60%@item-0 60%@item-0 10% 5")
    assert [
        (a.coupon.id, a.line_id, a.original_price, a.discounted_amount, a.final_price) for a in got.coupon_applications
    ] == [
        ("coupon-0", "line-000", 100, 60, 40),
        ("coupon-1", "line-000", 100, 40, 60),
        ("coupon-2", None, 50, 5, 45),
        ("coupon-3", None, 45, 5, 40),
    ]


def test_a_line_item_is_matched_before_a_price():
    charges = [
        ChargeLine("a", D(10), subscription_line_item_id="other", price_id="x"),
        ChargeLine("b", D(10), subscription_line_item_id="x"),
    ]
    got = invoice_totals(charges, 2, coupons=coupons("50%@x"))
    assert [line.line_item_discount for line in got.lines] == [0, 5]


def test_a_fixed_coupon_is_spent_once_over_the_lines_of_its_item():
    charges = [
        ChargeLine("a", D(10), PriceType.USAGE, subscription_line_item_id="calls"),
        ChargeLine("b", D(15), PriceType.USAGE, subscription_line_item_id="calls"),
        ChargeLine("c", D(40), PriceType.FIXED, subscription_line_item_id="seats"),
    ]
    got = invoice_totals(charges, 2, coupons=coupons("5@calls"))
    assert [line.line_item_discount for line in got.lines] == [2, 3, 0]
    got = invoice_totals(charges, 2, coupons=coupons("20%@calls"))
    assert [line.line_item_discount for line in got.lines] == [2, 3, 0]


def test_the_odd_cent_of_a_spread_coupon_does_not_depend_on_the_order_of_lines():
    one = ChargeLine("a", D("0.01"), subscription_line_item_id="calls", price_id="peak")
    other = ChargeLine("b", D("0.01"), subscription_line_item_id="calls", price_id="night")
    discounts = [
        invoice_totals(order, 2, coupons=coupons("0.01@calls 100%@peak")).total_discount
        for order in ([one, other], [other, one])
    ]
    assert discounts == [D("0.01"), D("0.01")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChargeLine("a", D("-0.01")),
        lambda: Coupon("c", CouponType.FIXED, D(0)),
        lambda: Coupon("c", CouponType.PERCENTAGE, D("100.01")),
        lambda: TaxRate("t", TaxRateType.PERCENTAGE, D("100.5")),
        lambda: TaxRate("t", TaxRateType.FIXED, D(-1)),
        lambda: invoice("U10", wallet="-1"),
        lambda: invoice_totals([ChargeLine("a", D(1)), ChargeLine("a", D(1))], 2),
    ],
)
def test_figures_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError):
        make()


amounts = st.decimals(0, 10**5, places=4)
all_digits = st.sampled_from([0, 2, 3, 4])


@st.composite
def charge_lines(draw, kinds=(PriceType.USAGE, PriceType.FIXED, None)):
    wanted = draw(st.lists(st.tuples(amounts, st.sampled_from(kinds), st.integers(0, 3)), max_size=8))
    return [ChargeLine(f"l{i}", amount, kind, f"item-{item}", "price") for i, (amount, kind, item) in enumerate(wanted)]


coupon_lists = st.lists(
    st.one_of(
        st.builds(
            Coupon,
            st.uuids().map(str),
            st.just(CouponType.PERCENTAGE),
            st.decimals("0.01", 100, places=2),
            st.sampled_from([None, "item-0", "item-1", "price", "nowhere"]),
        ),
        st.builds(
            Coupon,
            st.uuids().map(str),
            st.just(CouponType.FIXED),
            st.decimals("0.0001", 10**5, places=4),
            st.sampled_from([None, "item-0", "item-1", "price", "nowhere"]),
        ),
    ),
    max_size=5,
)
rate_lists = st.lists(
    st.one_of(
        st.builds(TaxRate, st.uuids().map(str), st.just(TaxRateType.PERCENTAGE), st.decimals(0, 100, places=3)),
        st.builds(TaxRate, st.uuids().map(str), st.just(TaxRateType.FIXED), amounts),
    ),
    max_size=4,
)


@given(charge_lines(), coupon_lists, rate_lists, amounts, all_digits)
@settings(max_examples=200)
def test_every_invoice_adds_up(charges, applied, tax_rates, wallet, digits):
    got = invoice_totals(charges, digits, coupons=applied, tax_rates=tax_rates, prepaid_value=wallet)
    assert [(line.id, line.amount) for line in got.lines] == [
        (charge.id, round_to(charge.amount, digits)) for charge in charges
    ]
    for line in got.lines:
        figures = (line.line_item_discount, line.invoice_level_discount, line.prepaid_credits_applied)
        assert all(figure >= 0 and decimals(figure) <= digits for figure in figures)
        assert exact_sum(figures) <= line.amount
        assert line.net == line.amount - exact_sum(figures)
        assert line.prepaid_credits_applied == 0 or line.price_type is PriceType.USAGE
    assert got.subtotal == exact_sum([line.amount for line in got.lines])
    assert got.total_discount == exact_sum([line.discount for line in got.lines])
    assert got.total_discount == exact_sum([each.discounted_amount for each in got.coupon_applications])
    assert got.total_prepaid_credits_applied == exact_sum([line.prepaid_credits_applied for line in got.lines])
    assert got.total_prepaid_credits_applied <= wallet
    assert got.taxable_amount == got.subtotal - got.total_discount
    assert got.total_tax == exact_sum([tax.tax_amount for tax in got.taxes])
    assert got.total == got.subtotal - got.total_discount - got.total_prepaid_credits_applied + got.total_tax
    assert got.total >= 0
    assert decimals(got.total) <= digits


@given(charge_lines(), coupon_lists, all_digits)
@settings(max_examples=150)
def test_each_line_coupon_application_stays_on_its_line(charges, applied, digits):
    got = invoice_totals(charges, digits, coupons=applied)
    for line in got.lines:
        own = [each for each in got.coupon_applications if each.line_id == line.id]
        assert exact_sum([each.discounted_amount for each in own]) == line.line_item_discount
        assert all(each.original_price == line.amount for each in own)


def figures(got: InvoiceTotals) -> list[Decimal]:
    credit = got.total_prepaid_credits_applied
    return [got.subtotal, got.total_discount, credit, got.taxable_amount, got.total_tax, got.total]


@given(st.data(), charge_lines(), coupon_lists, rate_lists, all_digits)
@settings(max_examples=150)
def test_permuting_lines_changes_no_total(data, charges, applied, tax_rates, digits):
    permuted = data.draw(st.permutations(charges))
    one, other = (invoice_totals(order, digits, coupons=applied, tax_rates=tax_rates) for order in (charges, permuted))
    assert figures(one) == figures(other)


@given(st.data(), charge_lines(kinds=[PriceType.USAGE]), coupon_lists, amounts, all_digits)
@settings(max_examples=150)
def test_permuting_usage_lines_changes_no_total_with_credits_either(data, charges, applied, wallet, digits):
    permuted = data.draw(st.permutations(charges))
    one, other = (invoice_totals(order, digits, coupons=applied, prepaid_value=wallet) for order in (charges, permuted))
    assert figures(one) == figures(other)


@given(charge_lines(kinds=[PriceType.USAGE]), coupon_lists, amounts, all_digits)
@settings(max_examples=100)
def test_credits_pay_as_much_usage_as_the_wallet_holds_in_whole_units(charges, applied, wallet, digits):
    got = invoice_totals(charges, digits, coupons=applied, prepaid_value=wallet)
    assert got.total_prepaid_credits_applied == min(floor_to(wallet, digits), got.taxable_amount)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.data(), all_digits)
@settings(max_examples=150)
def test_a_share_is_within_a_unit_of_its_exact_part_and_within_its_net(units, data, digits):
    nets = [D(unit).scaleb(-digits) for unit in units]
    whole = exact_sum(nets)
    discount = D(data.draw(st.integers(0, sum(units)))).scaleb(-digits)
    shares = distributed(discount, nets, digits)
    assert exact_sum(shares) == discount
    for net, got in zip(nets, shares, strict=True):
        assert 0 <= got <= net
        exact = Fraction(net) * Fraction(discount) / Fraction(whole) if whole else Fraction(0)
        assert abs(Fraction(got) - exact) < Fraction(1, 10**digits)


def test_long_amounts_keep_every_digit():
    huge = D("12345678901234567890.12345678")
    got = invoice_totals([ChargeLine("a", huge), ChargeLine("b", huge)], 4, coupons=coupons("0.0001"))
    assert got.subtotal == D("24691357802469135780.2470")
    assert got.total == D("24691357802469135780.2469")
