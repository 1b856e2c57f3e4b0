"""What an invoice comes to, over HTTP: the worked examples that need no wallet.

Rule: docs/rules/invoices-and-payments.md#totals
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage


@dataclass(frozen=True)
class Case:
    lines: list[dict[str, Any]]
    coupons: tuple[str, ...] = ()
    on_line: tuple[str, ...] = ()
    """Coupons on the lines of price "p"."""
    taxes: tuple[str, ...] = ()
    currency: str = "usd"
    expected: dict[str, str] = field(default_factory=dict)
    shares: list[str] | None = None
    """Invoice-level discount of each line."""
    line_discounts: list[str] | None = None


CASES = [
    pytest.param(
        Case(
            [usage("80", price_id="p"), fixed("20")],
            coupons=("10",),
            on_line=("25%",),
            taxes=("8.25%",),
            expected={"subtotal": "100", "total_discount": "30", "total_tax": "5.78", "total": "75.78"},
            shares=["7.5", "2.5"],
            line_discounts=["20", "0"],
        ),
        id="a line coupon, then an invoice coupon spread by what is left, then tax (W1 without its wallet)",
    ),
    pytest.param(
        Case([usage("100", price_id="p")], ("20%",), ("10%",), expected={"total_discount": "28", "total": "72"}),
        id="an invoice percentage is taken of what line coupons left (W2 without its wallet)",
    ),
    pytest.param(
        Case([fixed("100")], ("10%", "10%"), expected={"total_discount": "19", "total": "81"}),
        id="invoice percentages chain (W3)",
    ),
    pytest.param(Case([fixed("100")], ("10%", "10"), expected={"total": "80"}), id="ten percent, then ten off (W4)"),
    pytest.param(Case([fixed("100")], ("10", "10%"), expected={"total": "81"}), id="ten off, then ten percent (W4)"),
    pytest.param(
        Case(
            [usage("0.33"), usage("0.34"), usage("0.33")],
            ("10%",),
            expected={"total_discount": "0.1", "total": "0.9"},
            shares=["0.03", "0.04", "0.03"],
        ),
        id="cents that do not divide go to the largest remainder (W5 without its wallet)",
    ),
    pytest.param(
        Case(
            [fixed("0.01")] * 100,
            ("50%",),
            expected={"total_discount": "0.5", "total": "0.5"},
            shares=["0.01"] * 50 + ["0"] * 50,
        ),
        id="half off a hundred cents takes fifty cents, from the first fifty lines (W6)",
    ),
    pytest.param(
        Case(
            [usage("30", price_id="p"), usage("70")],
            on_line=("40",),
            expected={"total_discount": "30", "total": "70"},
            line_discounts=["30", "0"],
        ),
        id="a line coupon stops at its line's amount (W7 without its wallet)",
    ),
    pytest.param(
        Case(
            [fixed("100", price_id="p"), fixed("50")],
            on_line=("60%", "60%"),
            expected={"subtotal": "150", "total_discount": "100", "total": "50"},
        ),
        id="line coupons together stop at their line's amount (W8)",
    ),
    pytest.param(
        Case([fixed("33.33")], taxes=("3.5%", "3.5%", "3.5%"), expected={"total_tax": "3.51", "total": "36.84"}),
        id="each tax is rounded by itself (W9)",
    ),
    pytest.param(
        Case([fixed("1023")], taxes=("10%",), currency="jpy", expected={"total_tax": "102", "total": "1125"}),
        id="yen have no minor unit (W10)",
    ),
    pytest.param(
        Case(
            [fixed("333"), fixed("333"), fixed("334")],
            ("15.5%",),
            taxes=("10%",),
            currency="jpy",
            expected={"total_discount": "155", "total_tax": "85", "total": "930"},
            shares=["52", "51", "52"],
        ),
        id="yen are spread in whole yen, and half a yen of tax rounds up (W11)",
    ),
    pytest.param(
        Case([fixed("12.345")], taxes=("5%",), currency="kwd", expected={"total_tax": "0.617", "total": "12.962"}),
        id="dinars have three decimals (W12)",
    ),
    pytest.param(
        Case(
            [fixed("30"), fixed("20")],
            ("30", "30"),
            taxes=("10%",),
            expected={"total_discount": "50", "total_tax": "0", "total": "0"},
        ),
        id="the second coupon finds only what the first left (W19)",
    ),
    pytest.param(
        Case([fixed("10")], ("100%",), taxes=("2.50",), expected={"total_tax": "2.5", "total": "2.5"}),
        id="a fixed tax is charged on nothing too (W20)",
    ),
    pytest.param(
        Case([fixed("33.333334")] * 3, expected={"subtotal": "99.99", "total": "99.99"}),
        id="each line is rounded, and no hidden line makes up the rest (W21)",
    ),
    pytest.param(
        Case([fixed("10")], ("50%",), taxes=("2.50",), expected={"total_discount": "5", "total": "7.5"}),
        id="a discount and a fixed tax (W22)",
    ),
    pytest.param(
        Case([usage("50.33"), usage("49.67")], ("12.5%",), expected={"total": "87.5"}, shares=["6.29", "6.21"]),
        id="twelve and a half percent over two lines (W18 without its wallet)",
    ),
]


@pytest.mark.parametrize("case", CASES)
async def test_total(account: Account, case: Case) -> None:
    desk = Desk(account)
    coupons = [await desk.coupon(off, case.currency) for off in case.coupons]
    on_line = [{"coupon_id": await desk.coupon(off, case.currency), "line_item_id": "p"} for off in case.on_line]
    taxes = [await desk.tax(value) for value in case.taxes]
    made = await desk.invoice(
        case.lines, currency=case.currency, coupons=coupons, line_item_coupons=on_line, tax_rates=taxes
    )

    assert {name: made[name] for name in case.expected} == case.expected
    assert made["amount_due"] == made["amount_remaining"] == made["total"]
    if case.shares is not None:
        assert [line["invoice_level_discount"] for line in made["line_items"]] == case.shares
    if case.line_discounts is not None:
        assert [line["line_item_discount"] for line in made["line_items"]] == case.line_discounts
    assert sum(Decimal(a["discounted_amount"]) for a in made["coupon_applications"]) == Decimal(made["total_discount"])
    assert sum(Decimal(tax["tax_amount"]) for tax in made["taxes"]) == Decimal(made["total_tax"])
    assert (await desk.get(made)) == made


async def test_the_order_of_lines_changes_no_total(account: Account) -> None:
    desk = Desk(account)
    coupon, tax = await desk.coupon("12.5%"), await desk.tax("8.25%")
    lines = [usage("0.33"), fixed("50.33"), usage("49.67"), fixed("0.34")]
    figures = []
    for order in (lines, lines[::-1]):
        made = await desk.invoice(order, coupons=[coupon], tax_rates=[tax])
        figures.append([made[name] for name in ("subtotal", "total_discount", "total_tax", "total")])
    assert figures[0] == figures[1]


async def test_the_same_coupon_twice_discounts_twice_and_counts_twice(account: Account) -> None:
    desk = Desk(account)
    coupon = await desk.coupon("10%", max_redemptions=2)
    made = await desk.invoice([fixed("100")], coupons=[coupon, coupon])
    assert made["total"] == "81"
    assert (await account.get(f"/coupons/{coupon}"))["total_redemptions"] == 2
    await desk.invoice([fixed("100")], coupons=[coupon], expect=400)


async def test_taxes_and_coupons_tell_what_they_were(account: Account) -> None:
    desk = Desk(account)
    coupon, tax = await desk.coupon("10%"), await desk.tax("20%")
    made = await desk.invoice([fixed("50")], coupons=[coupon], tax_rates=[tax])
    (applied,), (taxed,) = made["coupon_applications"], made["taxes"]
    assert applied | {"id": ""} == applied | {
        "id": "",
        "coupon_id": coupon,
        "invoice_id": made["id"],
        "discount_type": "percentage",
        "discount_percentage": "10",
        "original_price": "50",
        "discounted_amount": "5",
        "final_price": "45",
        "currency": "usd",
    }
    assert applied["coupon_snapshot"]["name"] == "10% off"
    assert (taxed["tax_rate_id"], taxed["taxable_amount"], taxed["tax_amount"]) == (tax, "45", "9")
    assert (taxed["entity_type"], taxed["entity_id"]) == ("invoice", made["id"])
    assert "tax_rate" not in taxed
    whole = await account.get(f"/invoices/{made['id']}", expand="tax_applied.tax_rate")
    assert whole["taxes"][0]["tax_rate"]["percentage_value"] == "20"


async def test_overrides_by_code_win_over_rates_by_id(account: Account) -> None:
    desk = Desk(account)
    by_id = await desk.tax("50%")
    by_code = await desk.tax("10%", code="VAT10")
    override = {"tax_rate_code": "VAT10", "currency": "USD"}
    made = await desk.invoice([fixed("10")], tax_rates=[by_id], tax_rate_overrides=[override])
    assert [(tax["tax_rate_id"], tax["tax_amount"]) for tax in made["taxes"]] == [(by_code, "1")]
    override["currency"] = "EUR"
    refused = await desk.invoice([fixed("10")], tax_rate_overrides=[override], expect=400)
    assert "tax_rate_overrides[0].currency" in refused["details"]
