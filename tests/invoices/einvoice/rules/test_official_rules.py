"""Documents of every kind, issued by the real application, pass the official schemas and rules of their format."""

from __future__ import annotations

from decimal import Decimal

import pytest

from farthing.invoices.einvoice.model import Format
from tests.invoices.einvoice.exporter import Exporter, totals_of, xml_of
from tests.invoices.einvoice.rules.official_rules import EMPTY_DELIVERY, violations


async def issued_documents(exporter: Exporter) -> dict[str, str]:
    """The path of a document of each kind."""
    first, second = await exporter.subscription()
    paths = {
        "a fee in advance": first,
        "usage by tiers in arrear beside a fee in advance, at two rates of VAT": second,
        "one-off": await exporter.one_off(),
        "discounts and prepaid credits": await exporter.discounted_and_prepaid(),
        "no tax at all": await exporter.one_off(tax_rates=[]),
        "nothing to pay": await exporter.one_off(invoice_coupons=[{"coupon_id": await exporter.desk.coupon("100%")}]),
        "yen": await exporter.one_off(currency="jpy"),
        "zero-rated": await exporter.without_vat("Z"),
        "exempt": await exporter.without_vat("E", reason="Exempt as education"),
        "reverse charge": await exporter.without_vat("AE", reason="Reverse charge", code="VATEX-EU-AE"),
        "intra-community supply": await exporter.without_vat("K", code="VATEX-EU-IC"),
        "export": await exporter.without_vat("G", code="VATEX-EU-G", address_country="US", tax_id="12-3456789"),
        "outside the scope of VAT": await exporter.without_vat("O", code="VATEX-EU-O"),
        "a note on what is unpaid": await exporter.note(),
        "a note in full": await exporter.note("119", reason="SERVICE_ISSUE", memo="Never delivered \x01 & <lost>"),
    }
    for category, code in (("AE", "VATEX-EU-AE"), ("K", "VATEX-EU-IC"), ("O", "VATEX-EU-O")):
        invoice = await exporter.account.get(await exporter.without_vat(category, code=code))
        note = await exporter.notebook.credit(invoice, "40")
        paths[f"a note of category {category}"] = f"/creditnotes/{note['id']}"
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("wanted", list(Format), ids=str)
async def test_every_document_passes(exporter: Exporter, wanted: Format) -> None:
    found = {}
    for kind, path in (await issued_documents(exporter)).items():
        content = await exporter.document(path, wanted)
        broken = [each for each in violations(xml_of(content), wanted) if not each.startswith(EMPTY_DELIVERY)]
        if broken:
            found[kind] = broken
        stored = await exporter.account.get(path)
        owed = Decimal(stored["total_amount"] if "creditnotes" in path else stored["total"])
        assert totals_of(content)["payable"] == owed, kind
    assert not found, "\n".join(f"{kind}: {broken}" for kind, all_broken in found.items() for broken in all_broken)
