"""E-invoices from the real application: figures, what is missing, what stays the same, and who may have them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from lxml import etree

from farthing.invoices.einvoice.model import Format
from tests.account import Account
from tests.invoices.einvoice.exporter import NAMESPACES, SELLER, Exporter, totals_of
from tests.invoices.einvoice.rules.nations import SELLERS, buyer_of


def texts(content: bytes, path: str) -> list[str]:
    """The texts of the elements at a path."""
    return [str(each.text) for each in etree.fromstring(content).iterfind(f".//{path}", NAMESPACES)]


async def test_discounts_and_prepaid_credits(exporter: Exporter) -> None:
    content = await exporter.document(await exporter.discounted_and_prepaid())
    assert totals_of(content) == {
        "lines": Decimal(80),
        "allowances": Decimal(10),
        "net": Decimal(70),
        "tax": Decimal("5.78"),
        "gross": Decimal("75.78"),
        "prepaid": Decimal(5),
        "payable": Decimal("70.78"),
    }
    assert texts(content, "cbc:AllowanceChargeReason") == ["10 off", "25% off"]


async def test_arrear_beside_advance_at_two_rates(exporter: Exporter) -> None:
    """27 units, 3 of them free: 10 at 5, 10 at 4.005 and 4 at 3; the fee of July at the new rate."""
    _, path = await exporter.subscription()
    content = await exporter.document(path)
    assert texts(content, "cac:TaxSubtotal/cac:TaxCategory/cbc:Percent") == ["19", "16"]
    assert texts(content, "cac:TaxSubtotal/cbc:TaxableAmount") == ["102.05", "49.90"]
    assert texts(content, "cac:TaxSubtotal/cbc:TaxAmount") == ["19.39", "7.98"]
    assert texts(content, "cac:InvoiceLine/cac:InvoicePeriod/cbc:StartDate") == ["2026-06-01", "2026-07-01"]
    assert texts(content, "cac:InvoiceLine/cac:InvoicePeriod/cbc:EndDate") == ["2026-06-30", "2026-07-31"]
    root = etree.fromstring(content)
    assert root.findtext("cac:InvoicePeriod/cbc:StartDate", None, NAMESPACES) == "2026-06-01"
    assert root.findtext("cac:InvoicePeriod/cbc:EndDate", None, NAMESPACES) == "2026-07-31"
    units = [each.get("unitCode") for each in root.iterfind(".//cbc:InvoicedQuantity", NAMESPACES)]
    assert units == ["E34", "MON"]
    (described,) = texts(content, "cac:Item/cbc:Description")
    assert described.startswith("Priced 10 at 5 (from 0 to 10); 10 at 4.005 (from 10 to 20); 4 at 3 (above 20)")
    assert "3 included free of charge" in described


async def test_a_note_states_the_net_and_tax_that_it_stores(exporter: Exporter) -> None:
    content = await exporter.document(await exporter.note("59.50"))
    assert etree.QName(etree.fromstring(content)).localname == "CreditNote"
    assert totals_of(content) == {
        "lines": Decimal(50),
        "allowances": Decimal(0),
        "net": Decimal(50),
        "tax": Decimal("9.50"),
        "gross": Decimal("59.50"),
        "prepaid": Decimal(0),
        "payable": Decimal("59.50"),
    }
    (corrected,) = texts(content, "cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID")
    assert corrected.startswith("INV-")


@pytest.mark.parametrize("wanted", list(Format), ids=str)
async def test_a_document_stays_the_same_whatever_happens_later(exporter: Exporter, wanted: Format) -> None:
    customer = await exporter.buyer()
    path = await exporter.one_off(customer=customer)
    before = await exporter.document(path, wanted)
    invoice = await exporter.account.get(path)
    await exporter.notebook.till.pay(invoice, "19")
    note = await exporter.notebook.credit(invoice, "50")
    noted = await exporter.document(f"/creditnotes/{note['id']}", wanted)
    await exporter.account.put(
        f"/customers/{customer}",
        {
            "name": "Moved",
            "address_line2": "c/o",
            "address_country": "AT",
            "tax_id": "",
            "timezone": "Pacific/Auckland",
            "metadata": {},
        },
    )
    await exporter.configure(
        legal_name="Renamed", payment={"iban": "GB29 NWBK 6016 1331 9268 19"}, vat_id="DE111111125"
    )
    await exporter.account.put("/settings/invoice_config", {"value": {"timezone": "Pacific/Auckland"}})
    await exporter.account.put("/settings/invoice_pdf_config", {"value": {"logo": LOGO}})
    await exporter.account.put(path, {"due_date": "2099-01-01T00:00:00Z", "metadata": {"notes": "Later"}})
    await exporter.account.put(path, {"due_date": "2099-02-01T00:00:00Z"})
    assert await exporter.document(path, wanted) == before
    assert await exporter.document(f"/creditnotes/{note['id']}", wanted) == noted


LOGO = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


async def test_what_is_missing_is_said_and_once_it_is_set_the_document_is_there_and_stays(account: Account) -> None:
    exporter = Exporter(account)
    customer = await exporter.desk.customer(name="Buyer")
    path = await exporter.one_off(customer=customer)
    missing = await exporter.refusal(path)
    assert missing["einvoice_config.legal_name"] == "is missing: set it under Settings, einvoice_config"
    assert missing["customer.address_city"] == "is missing: set it on the customer"
    assert missing["customer.metadata.buyer_reference"] == "is missing: set it in the customer's metadata"
    await exporter.configure()
    assert not any(field.startswith("einvoice_config") for field in await exporter.refusal(path))
    details = {"address_city": "Bonn", "address_postal_code": "53111", "address_country": "DE"}
    reference = {
        "buyer_reference": "04011000-12345-34",
        "electronic_address_scheme": "0204",
        "electronic_address_id": "04011000-12345-34",
    }
    await account.put(f"/customers/{customer}", {**details, "metadata": reference})
    content = await exporter.document(path)
    await account.put(f"/customers/{customer}", {"address_city": "Köln", "metadata": {"buyer_reference": "X"}})
    await exporter.configure(legal_name="Renamed")
    assert await exporter.document(path) == content


async def test_a_number_in_metadata_is_the_tax_number_where_the_field_is_empty(exporter: Exporter) -> None:
    metadata = {"tax_id": "FR40303265045", **BUYER_METADATA}
    path = await exporter.without_vat("K", code="VATEX-EU-IC", tax_id="", metadata=metadata)
    (number,) = texts(await exporter.document(path), "cac:AccountingCustomerParty//cac:PartyTaxScheme/cbc:CompanyID")
    assert number == "FR40303265045"


BUYER_METADATA = {
    "buyer_reference": "R 1",
    "electronic_address_scheme": "0009",
    "electronic_address_id": "30326504500018",
}


# states, formats, rights


async def test_only_what_is_final_has_an_e_invoice(exporter: Exporter) -> None:
    draft = await exporter.one_off(invoice_status="DRAFT")
    answer = await exporter.file(draft, "facturx")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_operation")
    voided = await exporter.one_off()
    await exporter.account.post(f"{voided}/void", {}, expect=200)
    answer = await exporter.file(voided, "facturx")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_operation")
    note = await exporter.note(process_credit_note=False)
    answer = await exporter.file(note, "facturx")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_operation")


@pytest.mark.parametrize("wanted", ["", "pdf", "XRECHNUNG-UBL", "peppol", "x" * 5000])
async def test_an_unknown_format_is_refused_and_the_known_ones_are_named(exporter: Exporter, wanted: str) -> None:
    for path in (await exporter.one_off(), await exporter.note()):
        answer = await exporter.file(path, wanted)
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
        assert "xrechnung-ubl" in answer.json()["details"]["format"]


async def test_a_format_must_be_named(exporter: Exporter) -> None:
    answer = await exporter.account.http.get(f"{await exporter.one_off()}/einvoice")
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


async def test_the_answer_is_a_file(exporter: Exporter) -> None:
    path = await exporter.one_off()
    number = (await exporter.account.get(path))["invoice_number"]
    xml, pdf = await exporter.file(path, "peppol-ubl"), await exporter.file(path, "facturx")
    assert xml.headers["content-type"].startswith("application/xml")
    assert xml.headers["content-disposition"] == f'attachment; filename="{number}-peppol-ubl.xml"'
    assert pdf.headers["content-type"] == "application/pdf"


async def test_a_stranger_and_another_environment_find_nothing(exporter: Exporter, stranger: Account) -> None:
    other = await exporter.account.new_key(["super_admin"], environment_id=await exporter.account.new_environment())
    paths = [await exporter.one_off(), await exporter.note()]
    for path in paths:
        for client in (stranger.http, exporter.account.client(other)):
            answer = await client.get(f"{path}/einvoice", params={"format": "facturx"})
            assert answer.status_code == 404
            assert "Farthing GmbH" not in answer.text


async def test_whoever_may_not_read_invoices_gets_none(exporter: Exporter) -> None:
    paths = [await exporter.one_off(), await exporter.note()]
    ingestor = exporter.account.client(await exporter.account.new_key(["event_ingestor"]))
    for path in paths:
        assert (await ingestor.get(f"{path}/einvoice", params={"format": "facturx"})).status_code == 403
        anonymous = await exporter.account.client().get(f"{path}/einvoice", params={"format": "facturx"})
        assert anonymous.status_code == 401


# what is checked when it is written


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"vat_id": "12345"}, "vat_id"),
        ({"vat_id": "HRB 12"}, "vat_id"),
        ({"payment": {"iban": "DE89 3704 0044 0532 0130 01"}}, "iban"),
        ({"payment": {"bic": "short"}}, "bic"),
        ({"payment": {"means_code": "1000"}}, "means_code"),
        ({"address": {"country": "Germany"}}, "country"),
        ({"address": {"city": "a\nb"}}, "city"),
        ({"electronic_address": {"scheme": "9930"}}, "id"),
        ({"electronic_address": {"scheme": "0000", "id": "1"}}, "scheme"),
        ({"contact": {"phone": "call me"}}, "phone"),
        ({"contact": {"email": "nobody"}}, "email"),
        ({"accounting_currency": "euro"}, "accounting_currency"),
        ({"default_vat_category": "S"}, "default_vat_category"),
        ({"default_vat_category": "E"}, "default_vat_exemption_reason"),
        ({"default_vat_category": "Z", "default_vat_exemption_reason": "because"}, "default_vat_exemption_reason"),
        ({"default_vat_category": "O", "default_vat_exemption_code": "VATEX-NO"}, "default_vat_exemption_code"),
        ({"default_vat_exemption_reason": "because"}, "default_vat_category"),
        ({"legal_name": "   "}, "legal_name"),
        ({"legal_name": "x" * 201}, "legal_name"),
        ({"legal_name": None}, "legal_name"),
        ({"address": "Berlin"}, "address"),
    ],
)
async def test_a_setting_that_no_document_could_say_is_refused(
    account: Account, value: dict[str, Any], field: str
) -> None:
    answer = await account.put("/settings/einvoice_config", {"value": value}, expect=400)
    assert any(field in named for named in answer["details"]), answer


async def test_a_setting_is_stored_in_one_form(account: Account) -> None:
    await account.put("/settings/einvoice_config", {"value": SELLER})
    stored = (await account.get("/settings/einvoice_config"))["value"]
    assert (stored["vat_id"], stored["payment"]["iban"]) == ("DE123456789", "DE89370400440532013000")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"electronic_address_scheme": "0000", "electronic_address_id": "1"}, "metadata.electronic_address_scheme"),
        ({"electronic_address_scheme": "0204"}, "metadata.electronic_address_id"),
        ({"electronic_address_id": "1"}, "metadata.electronic_address_scheme"),
        ({"buyer_reference": " "}, "metadata.buyer_reference"),
        ({"buyer_reference": "a\x07"}, "metadata.buyer_reference"),
        ({"order_reference": "x" * 201}, "metadata.order_reference"),
        ({"tax_id": ""}, "metadata.tax_id"),
    ],
)
async def test_a_customers_details_are_checked(account: Account, metadata: dict[str, str], field: str) -> None:
    body = {"external_id": "c", "name": "C"}
    assert field in (await account.post("/customers", {**body, "metadata": metadata}, expect=400))["details"]
    made = await account.post("/customers", body)
    assert field in (await account.put(f"/customers/{made['id']}", {"metadata": metadata}, expect=400))["details"]


async def test_a_customers_tax_number_is_set_shown_and_cleared(account: Account) -> None:
    made = await account.post("/customers", {"external_id": "c", "name": "C", "tax_id": "DE987654321"})
    assert made["tax_id"] == "DE987654321"
    kept = await account.put(f"/customers/{made['id']}", {"metadata": {"a": "b"}})
    assert kept["tax_id"] == "DE987654321"
    assert "tax_id" not in await account.put(f"/customers/{made['id']}", {"tax_id": ""})
    refusal = await account.put(f"/customers/{made['id']}", {"tax_id": "a\tb"}, expect=400)
    assert "tax_id" in refusal["details"]


@pytest.mark.parametrize(
    ("rate", "metadata", "field"),
    [
        ("19", {"vat_category": "Z"}, "metadata.vat_category"),
        ("0", {"vat_category": "S"}, "metadata.vat_category"),
        ("0", {"vat_category": "X"}, "metadata.vat_category"),
        ("0", {"vat_category": "AE"}, "metadata.vat_exemption_reason"),
        ("0", {"vat_category": "AE", "vat_exemption_code": "VATEX"}, "metadata.vat_exemption_code"),
        ("19", {"vat_exemption_reason": "because"}, "metadata.vat_exemption_reason"),
        ("0", {"vat_category": "E", "vat_exemption_reason": "a\x01"}, "metadata.vat_exemption_reason"),
        ("fixed", {"vat_category": "S"}, "metadata.vat_category"),
    ],
)
async def test_what_a_tax_rate_says_of_vat_is_checked(
    account: Account, rate: str, metadata: dict[str, str], field: str
) -> None:
    figure = {"tax_rate_type": "fixed", "fixed_value": "1"} if rate == "fixed" else {"percentage_value": rate}
    body = {"name": "Tax", "code": "T", **figure}
    assert field in (await account.post("/taxes/rates", {**body, "metadata": metadata}, expect=400))["details"]
    made = await account.post("/taxes/rates", body)
    assert field in (await account.put(f"/taxes/rates/{made['id']}", {"metadata": metadata}, expect=400))["details"]


async def test_units_of_features_and_prices_are_checked(exporter: Exporter) -> None:
    account, wrong = exporter.account, {"unit_code": "GIGABYTE"}
    feature = await exporter.office.feature()
    refusals = [
        await account.put(f"/features/{feature['id']}", {"metadata": wrong}, expect=400),
        await account.post("/features", {"name": "F", "type": "boolean", "metadata": wrong}, expect=400),
    ]
    plan = await exporter.office.plan()
    price = {**exporter.office.usage(feature, "1"), "entity_type": "PLAN", "entity_id": plan["id"]}
    refusals.append(await account.post("/prices", {**price, "metadata": wrong}, expect=400))
    assert ["metadata.unit_code" in answer["details"] for answer in refusals] == [True] * 3


async def test_a_rate_that_changes_its_reason_changes_no_issued_document(exporter: Exporter) -> None:
    rate = await exporter.vat("0%", category="E", exemption_reason="Education")
    path = await exporter.one_off(tax_rates=[rate])
    before = await exporter.document(path)
    changed = await exporter.account.put(
        f"/taxes/rates/{rate}", {"metadata": {"vat_category": "Z"}}, expect=400
    )  # a rate that was charged stays as it was
    assert changed["code"] == "invalid_operation"
    assert await exporter.document(path) == before


async def test_a_mark_that_the_authority_answers_later_closes_the_gap(exporter: Exporter) -> None:
    said = {name: value for name, value in SELLERS["GR"].items() if name != "registration_number"}
    await exporter.configure(registration_number="", tax_number="", **said)
    buyer = buyer_of("GR")
    in_metadata = ("buyer_reference", "electronic_address_scheme", "electronic_address_id")
    metadata = {name: buyer.pop(name) for name in in_metadata}
    customer = await exporter.desk.customer(**buyer, metadata=metadata)
    path = await exporter.one_off(customer=customer, tax_rates=[await exporter.vat("24%")])
    lacking = await exporter.refusal(path, Format.PEPPOL_UBL)
    assert lacking == {"metadata.mydata_mark": "is missing: set it in the document's metadata"}
    await exporter.account.put(path, {"metadata": {"mydata_mark": "400001234567890"}})
    content = await exporter.document(path, Format.PEPPOL_UBL)
    assert texts(content, "cac:AdditionalDocumentReference/cbc:ID") == ["400001234567890"]
    number = (await exporter.account.get(path))["invoice_number"]
    said_number = etree.fromstring(content).findtext("cbc:ID", None, NAMESPACES)
    assert said_number is not None
    assert said_number.split("|")[0] == "090000045"
    assert said_number.split("|")[2:] == ["0", "2.1", "0", number]


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"electronic_address_scheme": "0208", "electronic_address_id": "0202239952"}, "electronic_address_id"),
        ({"debited_account": "DE00370400440532013000"}, "debited_account"),
        ({"mandate_reference": " "}, "mandate_reference"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_a_buyer_says_wrongly_is_refused(account: Account, metadata: dict[str, str], field: str) -> None:
    answer = await account.http.post("/customers", json={"external_id": "b", "name": "B", "metadata": metadata})
    assert answer.status_code == 400
    assert f"metadata.{field}" in answer.json()["details"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"electronic_address": {"scheme": "0088", "id": "7609999000004"}}, "electronic_address.id"),
        ({"payment": {"creditor_id": "DE99ZZZ09999999999"}}, "payment.creditor_id"),
        ({"payment": {"iban": "DE89370400440532013000", "account_number": "1"}}, "payment.account_number"),
        ({"payment": {"bic": "COBADEFFXXX", "bank_branch": "1"}}, "payment.bank_branch"),
        ({"default_vat_category": "E", "default_vat_exemption_code": "VATEX-EU-AE"}, "default_vat_exemption_code"),
        ({"vat_id": "NO974760673"}, "vat_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_a_seller_says_wrongly_is_refused(account: Account, value: dict[str, Any], field: str) -> None:
    answer = await account.http.put("/settings/einvoice_config", json={"value": value})
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field]
