"""Documents of every nation pass the official rules, and what those rules refuse is named before a file is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from farthing.invoices.einvoice.assembly import assemble, document_for
from farthing.invoices.einvoice.files import written_file
from farthing.invoices.einvoice.formats.cii import cii
from farthing.invoices.einvoice.mapping import IssuedFigures
from farthing.invoices.einvoice.model import Format, PrecedingInvoice, TradeDocument, TypeCode
from tests.invoices.einvoice.papers import issued, line, vat
from tests.invoices.einvoice.rules.nations import NATIONS, buyer_of, rates_of, seller_of
from tests.invoices.einvoice.rules.official_rules import EMPTY_DELIVERY, german_violations, violations
from tests.invoices.einvoice.rules.test_odd_documents import STRANGE, taxed

MARK = {"mark": "400001234567890", "mark_url": "https://mydata.example/400001234567890"}
PRECEDING = PrecedingInvoice("INV-202610-00009", date(2026, 10, 31))
EUROPEAN = {"DE", "DK", "GR", "IT", "NL", "SE", "BE"}
"""Members of the community among the nations."""


def official_faults(document: TradeDocument, wanted: Format) -> list[str]:
    """What the official rules find wrong with the XML of a document."""
    content = cii(document, wanted) if wanted is Format.FACTURX else written_file(document, wanted)
    broken = violations(content, wanted)
    if wanted is Format.PEPPOL_UBL and document.is_german(wanted):
        broken += german_violations(content)
    return [each for each in broken if not each.startswith(EMPTY_DELIVERY)]


def papers_of(nation: str) -> dict[str, IssuedFigures]:
    """Documents of many kinds at the rates of a nation."""
    standard, reduced = rates_of(nation)
    reverse = vat("0", "AE", "VATEX-EU-AE")
    return {
        "mixed rates, allowances on lines and on the whole, money paid before": _prepaid(
            taxed(
                line("100", standard, discount="12.34", document_discount="5.55"),
                line("50", reduced, document_discount="2.78"),
                **MARK,
            ),
            Decimal(20),
        ),
        "a line that gives something back, and text that is no XML": taxed(
            line("100", standard, name=STRANGE), line("-30.55", standard, description=STRANGE), note=STRANGE, **MARK
        ),
        "a full discount: nothing to pay": taxed(line("100", standard, document_discount="100"), **MARK),
        "all of it paid before": _prepaid(taxed(line("100", standard), **MARK)),
        "reverse charge at home": taxed(line("100", reverse), **MARK),
        "exempt small business": taxed(
            line("100", replace(vat("0", "E"), reason="Small business: no VAT is charged")), **MARK
        ),
        "a credit note": taxed(
            line("100", standard),
            line("7.77", reduced),
            type=TypeCode.CREDIT_NOTE,
            preceding=PRECEDING,
            due_on=None,
            **MARK,
        ),
    }


def papers_abroad(nation: str) -> dict[str, IssuedFigures]:
    """Documents to a buyer in another country."""
    papers = {
        "export": taxed(line("100", vat("0", "G", "VATEX-EU-G")), **MARK),
        "reverse charge": taxed(line("100", vat("0", "AE", "VATEX-EU-AE")), **MARK),
    }
    if nation in EUROPEAN:
        papers["intra-community supply"] = taxed(line("100", vat("0", "K", "VATEX-EU-IC")), **MARK)
    return papers


def _prepaid(said: IssuedFigures, paid: Decimal | None = None) -> IssuedFigures:
    """The document with some of it, or all, paid before its issue."""
    paid = said.total if paid is None else paid
    return replace(said, prepaid=paid, total=said.total - paid)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", list(Format), ids=str)
def test_documents_of_every_nation_pass(wanted: Format) -> None:
    found = {}
    # the other formats have no rules of nations but Germany's
    for nation in NATIONS if wanted is Format.PEPPOL_UBL else ("DE",):
        abroad = "BE" if nation != "BE" else "NL"
        deals = [(nation, papers_of(nation)), (abroad, papers_abroad(nation))]
        for buyer_nation, papers in deals:
            for kind, said in papers.items():
                paper = issued(said, [seller_of(nation)], [buyer_of(buyer_nation)])
                broken = official_faults(document_for(paper, wanted), wanted)
                if broken:
                    found[f"{nation} to {buyer_nation}: {kind}"] = broken
    assert found == {}


# what is wrong with parties: official rule, seller's nation, its changes, buyer's nation, its changes, field named

_GIRO = {"payment.account_number": "", "payment.bank_branch": "", "payment.iban": "DE89370400440532013000"}
WRONG: list[tuple[str, str, dict[str, str], str, dict[str, str], str]] = [
    ("PEPPOL-EN16931-CL008", "BE", {"electronic_address.scheme": "EM"}, "BE", {}, "electronic_address.scheme"),
    ("PEPPOL-EN16931-CL008", "BE", {}, "BE", {"electronic_address_scheme": "AQ"}, "electronic_address_scheme"),
    ("PEPPOL-COMMON-R040", "CH", {"electronic_address.id": "7609999000004"}, "CH", {}, "electronic_address.id"),
    ("PEPPOL-COMMON-R041", "NO", {"electronic_address.id": "974760674"}, "BE", {}, "electronic_address.id"),
    ("PEPPOL-COMMON-R042", "DK", {"electronic_address.id": "1358562"}, "BE", {}, "electronic_address.id"),
    ("PEPPOL-COMMON-R043", "BE", {}, "BE", {"electronic_address_id": "0202239952"}, "electronic_address_id"),
    ("PEPPOL-COMMON-R044", "BE", {}, "IT", {"electronic_address_id": "UFY9M"}, "electronic_address_id"),
    ("PEPPOL-COMMON-R047", "IT", {"electronic_address.id": "IT00743110158"}, "BE", {}, "electronic_address.id"),
    ("PEPPOL-COMMON-R049", "SE", {"electronic_address.id": "556036079"}, "BE", {}, "electronic_address.id"),
    ("PEPPOL-EN16931-R061", "BE", {"payment.means_code": "49"}, "BE", {}, "mandate_reference"),
    ("NO-R-001", "NO", {"vat_id": "NO974760674MVA"}, "NO", {}, "vat_id"),
    ("DK-R-002", "DK", {"registration_number": ""}, "BE", {}, "registration_number"),
    ("DK-R-014", "DK", {"registration_number": "1358562"}, "BE", {}, "registration_number"),
    ("DK-R-005", "DK", {**_GIRO, "payment.means_code": "30"}, "DK", {}, "payment.means_code"),
    ("DK-R-006", "DK", {"payment.bank_branch": ""}, "DK", {}, "payment.bank_branch"),
    ("DK-R-006", "DK", {"payment.account_number": ""}, "DK", {}, "payment.account_number"),
    ("DK-R-007", "DK", {"payment.means_code": "49"}, "DK", {"mandate_reference": "M1"}, "debited_account"),
    ("DK-R-008", "DK", {"payment.means_code": "50"}, "DK", {}, "payment.account_number"),
    ("DK-R-010", "DK", {"payment.means_code": "93"}, "DK", {}, "payment.account_number"),
    ("IT-R-001", "IT", {"tax_number": "12"}, "BE", {}, "tax_number"),
    ("IT-R-002", "IT", {"address.line1": ""}, "BE", {}, "address.line1"),
    ("IT-R-003", "IT", {"address.city": ""}, "BE", {}, "address.city"),
    ("IT-R-004", "IT", {"address.postal_code": ""}, "BE", {}, "address.postal_code"),
    ("SE-R-003", "SE", {"registration_number": "HRB 4711"}, "BE", {}, "registration_number"),
    ("SE-R-005", "SE", {"tax_number": "12/34"}, "BE", {}, "tax_number"),
    ("SE-R-007", "SE", {"payment.bank_branch": "SE:PLUSGIRO", "payment.account_number": "1-2"}, "BE", {},
     "payment.account_number"),
    ("SE-R-009", "SE", {"payment.account_number": "123456"}, "BE", {}, "payment.account_number"),
    ("SE-R-011", "SE", {"payment.means_code": "56"}, "BE", {}, "payment.means_code"),
    ("SE-R-012", "SE", {"payment.means_code": "31"}, "SE", {}, "payment.means_code"),
    ("GR-R-003", "GR", {"vat_id": "EL123456789"}, "BE", {}, "vat_id"),
    ("GR-R-006", "GR", {}, "GR", {"tax_id": ""}, "tax_id"),
    ("GR-R-009", "GR", {"electronic_address.scheme": "0208", "electronic_address.id": "0202239951"}, "BE", {},
     "electronic_address.scheme"),
    ("GR-R-010", "GR", {}, "GR", {"electronic_address_scheme": "0208", "electronic_address_id": "0202239951"},
     "electronic_address_scheme"),
    ("IS-R-002", "IS", {"registration_number": "12"}, "BE", {}, "registration_number"),
    ("IS-R-003", "IS", {"address.line1": ""}, "BE", {}, "address.line1"),
    ("IS-R-003", "IS", {"address.postal_code": ""}, "BE", {}, "address.postal_code"),
    ("IS-R-004", "IS", {}, "IS", {"registration_number": ""}, "registration_number"),
    ("IS-R-005", "IS", {}, "IS", {"address_line1": ""}, "address_line1"),
    ("IS-R-005", "IS", {}, "IS", {"address_postal_code": ""}, "address_postal_code"),
    ("IS-R-007", "IS", {"payment.account_number": "12345"}, "BE", {}, "payment.account_number"),
    ("NL-R-002", "NL", {"address.line1": ""}, "BE", {}, "address.line1"),
    ("NL-R-002", "NL", {"address.city": ""}, "BE", {}, "address.city"),
    ("NL-R-002", "NL", {"address.postal_code": ""}, "BE", {}, "address.postal_code"),
    ("NL-R-003", "NL", {"registration_number": "HRB 4711"}, "BE", {}, "registration_number"),
    ("NL-R-004", "NL", {}, "NL", {"address_line1": ""}, "address_line1"),
    ("NL-R-004", "NL", {}, "NL", {"address_city": ""}, "address_city"),
    ("NL-R-004", "NL", {}, "NL", {"address_postal_code": ""}, "address_postal_code"),
    ("NL-R-005", "NL", {}, "NL", {"registration_number": "HRB 4711"}, "registration_number"),
    ("NL-R-007", "NL", {"payment.iban": ""}, "BE", {}, "payment.iban"),
    ("NL-R-008", "NL", {"payment.means_code": "31"}, "BE", {}, "payment.means_code"),
    ("BR-DE-1", "DE", {"payment.iban": ""}, "DE", {}, "payment.iban"),
    ("BR-DE-5", "DE", {"contact.name": ""}, "DE", {}, "contact.name"),
    ("BR-DE-15", "DE", {}, "DE", {"buyer_reference": "", "order_reference": "PO-7"}, "buyer_reference"),
    ("BR-DE-18", "DE", {"payment_terms_text": "#1 of all"}, "DE", {}, "payment_terms_text"),
    ("BR-DE-24-a", "DE", {"payment.means_code": "48"}, "DE", {}, "payment.means_code"),
    ("PEPPOL-EN16931-R061", "DE", {"payment.means_code": "59"}, "DE", {}, "mandate_reference"),
    ("BR-DE-30", "DE", {"payment.means_code": "59"}, "DE", {"mandate_reference": "M1"}, "payment.creditor_id"),
    ("BR-DE-31", "DE", {"payment.means_code": "59"}, "DE", {"mandate_reference": "M1"}, "debited_account"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "nation", "seller_changes", "buyer_nation", "buyer_changes", "field"),
    [pytest.param(*case, id=f"{case[0]} {case[-1]}") for case in WRONG],
)
def test_what_official_rules_refuse_is_named(
    rule: str,
    nation: str,
    seller_changes: dict[str, str],
    buyer_nation: str,
    buyer_changes: dict[str, str],
    field: str,
) -> None:
    said = taxed(line("100", rates_of(nation)[0]), **MARK)
    seller, buyer = seller_of(nation, **seller_changes), buyer_of(buyer_nation, **buyer_changes)
    assembly = assemble(issued(said, [seller], [buyer]), Format.PEPPOL_UBL)
    assert field in {name.removeprefix("einvoice_config.").removeprefix("customer.").removeprefix("metadata.")
                     for name in assembly.obstacles}  # fmt: skip
    broken = official_faults(assembly.document, Format.PEPPOL_UBL)
    assert any(each.startswith(f"{rule} ") for each in broken), broken
    # what is said right later closes the gap of what was issued before
    mended = issued(said, [seller, seller_of(nation, **_mandate())], [buyer, buyer_of(buyer_nation, **_debited())])
    assert official_faults(document_for(mended, Format.PEPPOL_UBL), Format.PEPPOL_UBL) == []


def _mandate() -> dict[str, str]:
    return {"payment.creditor_id": "DE98ZZZ09999999999"}


def _debited() -> dict[str, str]:
    return {"mandate_reference": "M-1", "debited_account": "DE02120300000000202051"}


DOCUMENTS: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("GR-R-004-1", "GR", {"mark": ""}, "24", "metadata.mydata_mark"),
    ("GR-R-004-2", "GR", {"mark": "x"}, "24", "metadata.mydata_mark"),
    ("GR-R-001-1", "GR", {"number": "A|1"}, "24", "number"),
    ("SE-R-006", "SE", {}, "20", "line_items.taxes"),
]


@pytest.mark.parametrize(("rule", "nation", "changes", "rate", "field"), DOCUMENTS, ids=str)
def test_what_a_document_itself_lacks_is_named(
    rule: str, nation: str, changes: dict[str, Any], rate: str, field: str
) -> None:
    said = taxed(line("100", vat(rate)), **{**MARK, **changes})
    assembly = assemble(issued(said, [seller_of(nation)], [buyer_of("BE")]), Format.PEPPOL_UBL)
    assert list(assembly.obstacles) == [field]
    broken = official_faults(assembly.document, Format.PEPPOL_UBL)
    assert any(each.startswith(f"{rule} ") for each in broken), broken


def test_a_reason_that_stands_for_another_category_is_named() -> None:
    said = taxed(line("100", vat("0", "E", "VATEX-EU-AE")))
    assembly = assemble(issued(said, [seller_of("BE")], [buyer_of("BE")]), Format.PEPPOL_UBL)
    assert list(assembly.obstacles) == ["line_items.taxes"]
    broken = official_faults(assembly.document, Format.PEPPOL_UBL)
    assert any(each.startswith("PEPPOL-EN16931-P0107") for each in broken)


@pytest.mark.parametrize("wanted", [Format.XRECHNUNG_UBL, Format.XRECHNUNG_CII, Format.PEPPOL_UBL], ids=str)
def test_direct_debit_and_cash_discount_pass(wanted: Format) -> None:
    seller = seller_of(
        "DE", **_mandate(), **{"payment.means_code": "59", "payment_terms_text": "#SKONTO#TAGE=14#PROZENT=2.00#"}
    )
    paper = issued(taxed(line("100", vat("19"))), [seller], [buyer_of("DE", **_debited())])
    assert official_faults(document_for(paper, wanted), wanted) == []


@pytest.mark.parametrize(
    ("means", "account"), [("50", "1234567"), ("93", "12345678"), ("42", "0440116243"), ("1", "")], ids=str
)
def test_danish_ways_to_pay_pass(means: str, account: str) -> None:
    seller = seller_of("DK", **{"payment.means_code": means, "payment.account_number": account})
    paper = issued(taxed(line("100", vat("25"))), [seller], [buyer_of("DK")])
    assert official_faults(document_for(paper, Format.PEPPOL_UBL), Format.PEPPOL_UBL) == []


def test_a_document_outside_the_scope_of_vat_between_germans_passes() -> None:
    paper = issued(taxed(line("100", vat("0", "O", "VATEX-EU-O"))), [seller_of("DE")], [buyer_of("DE")])
    assert official_faults(document_for(paper, Format.PEPPOL_UBL), Format.PEPPOL_UBL) == []


def test_versions_that_each_lack_something_else_are_tried_once_and_the_right_one_is_found() -> None:
    """Of a Dutch seller: a way to pay that is refused, then an account that is missing, then the first again."""
    refused = seller_of("NL", **{"payment.means_code": "31"})
    unsaid = seller_of("NL", **{"payment.iban": ""})
    again = seller_of("NL", **{"payment.means_code": "31", "payment.iban": "NL20INGB0001234567"})
    said, buyers = taxed(line("100", vat("21"))), [buyer_of("NL")]
    fruitless = assemble(issued(said, [refused, unsaid, again], buyers), Format.PEPPOL_UBL)
    assert list(fruitless.obstacles) == ["einvoice_config.payment.means_code"]
    document = document_for(issued(said, [refused, unsaid, again, seller_of("NL")], buyers), Format.PEPPOL_UBL)
    assert document.payment is not None
    assert (document.payment.means_code, document.payment.iban) == ("30", "NL91ABNA0417164300")
