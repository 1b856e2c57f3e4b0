"""What a document says around its figures: parties, unit prices, why there is no tax, how to pay."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pypdf import PdfReader

from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.subscriptions.shop import Shop

SELLER = {
    "billing_details": {
        "tax_id": "DE123456789",
        "email": "billing@farthing.example",
        "address": {
            "address_line1": "Hafenstrasse 4",
            "address_postal_code": "20457",
            "address_city": "Hamburg",
            "address_country": "DE",
        },
    }
}
PAYMENT = {"iban": "DE89370400440532013000", "bic": "COBADEFFXXX", "account_name": "Farthing GmbH"}


async def said_by(account: Account, path: str) -> str:
    answer = await account.http.get(path)
    assert answer.status_code == 200, answer.text
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)
    return " ".join(text.split())


async def test_parties_prices_and_the_way_to_pay(account: Account) -> None:
    desk, shop = Desk(account), Shop(account)
    await account.put("/tenants/update", SELLER)
    terms = "Payable within 14 days without deduction."
    await account.put("/settings/einvoice_config", {"value": {"payment": PAYMENT, "payment_terms_text": terms}})
    customer = await desk.customer(
        name="Ateliers Réunis",
        address_line1="5 rue du Port",
        address_postal_code="59140",
        address_city="Dunkerque",
        address_country="FR",
        tax_id="FR40303265045",
    )
    feature = await shop.feature("calls")
    plan = await shop.plan(
        shop.usage(feature, "0.5", billing_model="PACKAGE", transform_quantity={"divide_by": 1000}),
        shop.usage(feature, "0.02"),
    )
    package, flat = (price["id"] for price in plan["prices"])
    lines: list[dict[str, Any]] = [
        fixed("49", "2", display_name="Seats"),
        fixed("100", "3", display_name="Thirds"),
        usage("1.5", "2500", price_id=package, display_name="Packages"),
        usage("2", "100", price_id=flat, display_name="Calls"),
        usage("1", "100", price_id=flat, display_name="Half a period"),
    ]
    invoice = await desk.invoice(lines, customer, tax_rates=[await desk.tax("20%", name="VAT")])
    said = await said_by(account, f"/invoices/{invoice['id']}/pdf")
    for expected in (
        "20457 Hamburg",
        "Germany",
        "Tax ID DE123456789",
        "59140 Dunkerque",
        "France",
        "Tax ID FR40303265045",
        "Seats 2 24.50 49.00",
        "Thirds 3 100.00",
        "Packages 2,500 0.50 per 1,000 1.50",
        "Calls 100 0.02 2.00",
        "Half a period 100 1.00",
        terms,
        "Please transfer $184.20 to Farthing GmbH, IBAN DE89 3704 0044 0532 0130 00, BIC COBADEFFXXX, with the "
        f"reference {invoice['invoice_number']}.",
    ):
        assert expected in said
    note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "process_credit_note": True}
    credited = [{"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "58.8"}]
    made = await account.post("/creditnotes", {**note, "line_items": credited})
    said = await said_by(account, f"/creditnotes/{made['id']}/pdf")
    for expected in ("Germany", "France", "VAT", "20%", "49.00", "$58.80", "Tax ID FR40303265045"):
        assert expected in said
    assert "Please transfer" not in said


@pytest.mark.parametrize(
    ("config", "treatment", "expected"),
    [
        pytest.param({}, "exempt", "No tax is charged: the customer is exempt from it.", id="an exempt customer"),
        pytest.param(
            {"default_vat_category": "AE", "default_vat_exemption_code": "VATEX-EU-AE"},
            "taxable",
            "Reverse charge: VAT is to be accounted for",
            id="reverse charge",
        ),
        pytest.param(
            {"default_vat_category": "E", "default_vat_exemption_reason": "Small business, section 19 UStG"},
            "taxable",
            "Small business, section 19 UStG",
            id="the seller's own reason",
        ),
        pytest.param(
            {"default_vat_category": "O", "default_vat_exemption_code": "VATEX-EU-O"},
            "taxable",
            "Not subject to VAT.",
            id="outside of VAT",
        ),
    ],
)
async def test_why_there_is_no_tax(account: Account, config: dict[str, str], treatment: str, expected: str) -> None:
    desk = Desk(account)
    await account.put("/settings/einvoice_config", {"value": config})
    customer = await desk.customer(tax_treatment=treatment)
    invoice = await desk.invoice([fixed("10")], customer)
    assert expected in await said_by(account, f"/invoices/{invoice['id']}/pdf")


async def test_the_seller_of_electronic_invoices_stands_in_for_missing_details(account: Account) -> None:
    address = {"line1": "Keizersgracht 1", "city": "Amsterdam", "postal_code": "1015 CJ", "country": "NL"}
    await account.put("/settings/einvoice_config", {"value": {"address": address, "vat_id": "NL123456789B01"}})
    invoice = await Desk(account).invoice([fixed("10")])
    said = await said_by(account, f"/invoices/{invoice['id']}/pdf")
    assert "1015 CJ Amsterdam" in said
    assert "Netherlands" in said
    assert "Tax ID NL123456789B01" in said
    assert "Please transfer" not in said
