"""What each format demands is named with where it is set, all of it at once."""

from __future__ import annotations

import pytest

from farthing.invoices.einvoice.assembly import assemble
from farthing.invoices.einvoice.mapping import IssuedFigures
from farthing.invoices.einvoice.model import Format
from tests.invoices.einvoice.papers import buyer, figures, issued, line, seller, vat

TAXED = figures("119.00", line("100", vat("19"), tax="19"))
CORE = {
    "einvoice_config.legal_name",
    "einvoice_config.address.country",
    "einvoice_config.vat_id",
    "customer.name",
    "customer.address_country",
}
ADDRESSES = {
    "einvoice_config.electronic_address.scheme",
    "einvoice_config.electronic_address.id",
    "customer.metadata.electronic_address_scheme",
    "customer.metadata.electronic_address_id",
}
GERMAN = {
    "einvoice_config.address.city",
    "einvoice_config.address.postal_code",
    "einvoice_config.contact.name",
    "einvoice_config.contact.phone",
    "einvoice_config.contact.email",
    "einvoice_config.payment.iban",
    "customer.address_city",
    "customer.address_postal_code",
}
REFERENCE = {"customer.metadata.buyer_reference"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Format.FACTURX, CORE),
        (Format.PEPPOL_UBL, CORE | ADDRESSES | REFERENCE),
        (Format.XRECHNUNG_UBL, CORE | ADDRESSES | GERMAN | REFERENCE),
        (Format.XRECHNUNG_CII, CORE | ADDRESSES | GERMAN | REFERENCE),
    ],
    ids=["facturx", "peppol-ubl", "xrechnung-ubl", "xrechnung-cii"],
)
def test_of_parties_who_say_nothing_everything_is_missing(wanted: Format, expected: set[str]) -> None:
    assert set(assemble(issued(TAXED, [{"timezone": "UTC"}], [{"timezone": "UTC"}]), wanted).obstacles) == expected


@pytest.mark.parametrize(
    ("said", "field"),
    [
        pytest.param(
            figures("119.00", line("100", vat("19"), tax="19"), due_on=None), "payment_terms_text", id="when to pay"
        ),
        pytest.param(figures("100.00", line("100")), "default_vat_category", id="how what is untaxed stands to VAT"),
        pytest.param(
            figures("100.00", line("100", vat("0", "O", "VATEX-EU-O"))), "registration_number", id="outside VAT"
        ),
        pytest.param(figures("100.00", line("100", vat("0", "K", "VATEX-EU-IC"))), "vat_id", id="intra-community"),
        pytest.param(figures("100.00", line("100", vat("0", "G", "VATEX-EU-G"))), "vat_id", id="export"),
    ],
)
def test_what_a_seller_has_to_say(said: IssuedFigures, field: str) -> None:
    found = assemble(issued(said, [seller(**{field: ""})]), Format.FACTURX).obstacles
    assert found == {f"einvoice_config.{field}": "is missing: set it under Settings, einvoice_config"}


@pytest.mark.parametrize(
    ("category", "tax_id", "missing"),
    [
        ("AE", "", True),
        ("AE", "HRB 12", False),
        ("AE", "FR40303265045", False),
        ("K", "HRB 12", True),
        ("K", "FR 40 303 265 045", False),
        ("G", "", False),
        ("E", "", False),
    ],
)
def test_a_buyer_is_asked_for_its_number_where_it_owes_the_tax(category: str, tax_id: str, missing: bool) -> None:
    said = figures("100.00", line("100", vat("0", category, "VATEX-EU-AE")))
    found = assemble(issued(said, buyers=[buyer(tax_id=tax_id)]), Format.FACTURX).obstacles
    assert found == ({"customer.tax_id": "is missing: set it on the customer"} if missing else {})


def test_peppol_takes_an_order_number_for_the_reference() -> None:
    ordering = buyer(buyer_reference="", order_reference="PO-7", address_country="FR")
    assert assemble(issued(TAXED, buyers=[ordering]), Format.PEPPOL_UBL).obstacles == {}
    assert set(assemble(issued(TAXED, buyers=[ordering]), Format.XRECHNUNG_UBL).obstacles) == REFERENCE


def test_peppol_between_two_german_parties_demands_what_germany_demands() -> None:
    silent = seller(**{"contact.phone": "", "payment.iban": ""})
    asked = {"einvoice_config.contact.phone", "einvoice_config.payment.iban"}
    assert set(assemble(issued(TAXED, [silent]), Format.PEPPOL_UBL).obstacles) == asked
    assert assemble(issued(TAXED, [silent], [buyer(address_country="FR")]), Format.PEPPOL_UBL).obstacles == {}


def test_a_means_of_payment_that_needs_no_account_is_an_instruction() -> None:
    in_cash = seller(**{"payment.iban": "", "payment.means_code": "10"})
    assert assemble(issued(TAXED, [in_cash]), Format.XRECHNUNG_UBL).obstacles == {}


def test_books_in_another_currency_need_a_rate() -> None:
    found = assemble(issued(TAXED, [seller(accounting_currency="usd")]), Format.FACTURX).obstacles
    assert set(found) == {"currency"}
    assert assemble(issued(TAXED, [seller(accounting_currency="eur")]), Format.FACTURX).obstacles == {}
