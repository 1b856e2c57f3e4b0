"""The tax of a document in the currency that its seller accounts in, as both syntaxes say it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from lxml import etree

from farthing.invoices.einvoice.assembly import assemble
from farthing.invoices.einvoice.formats.cii import cii
from farthing.invoices.einvoice.formats.ubl import ubl
from farthing.invoices.einvoice.model import Format
from tests.invoices.einvoice.papers import figures, issued, line, seller, vat
from tests.invoices.einvoice.rules.official_rules import violations

TAXED = figures("119.00", line("100", vat("19"), tax="19"))


@pytest.mark.parametrize(
    ("accounting", "rate", "tax"),
    [
        pytest.param("usd", "1.0832", "20.58", id="19.00 euros are 20.5808 dollars"),
        pytest.param("inr", "91.1205", "1731.29", id="half away from zero"),
        pytest.param("jpy", "160.11", "3042", id="no minor unit"),
        pytest.param("kwd", "0.3321", "6.31", id="the standard allows two decimals"),
        pytest.param("gbp", "0.0001", "0.00", id="less than a penny"),
        pytest.param("sek", "1", "19.00", id="one for one"),
        pytest.param("chf", "0.95", "18.05", id="francs"),
    ],
)
def test_tax_in_the_accounting_currency(accounting: str, rate: str, tax: str) -> None:
    said = issued(replace(TAXED, accounting_rate=Decimal(rate)), [seller(accounting_currency=accounting)])
    assembly = assemble(said, Format.PEPPOL_UBL)
    assert assembly.obstacles == {}
    written = ubl(assembly.document, Format.PEPPOL_UBL)
    assert violations(written, Format.PEPPOL_UBL) == []
    root = etree.fromstring(written)
    assert root.findtext("{*}TaxCurrencyCode") == accounting.upper()
    totals = [(total[0].get("currencyID"), total[0].text) for total in root.findall("{*}TaxTotal")]
    assert totals == [("EUR", "19.00"), (accounting.upper(), tax)]
    root = etree.fromstring(cii(assembly.document, Format.FACTURX))
    assert root.findtext(".//{*}TaxCurrencyCode") == accounting.upper()
    amounts = [(amount.get("currencyID"), amount.text) for amount in root.iter("{*}TaxTotalAmount")]
    assert amounts == totals


def test_the_same_currency_is_not_said_twice() -> None:
    assembly = assemble(issued(TAXED, [seller(accounting_currency="eur")]), Format.FACTURX)
    assert b"TaxCurrencyCode" not in cii(assembly.document, Format.FACTURX)
