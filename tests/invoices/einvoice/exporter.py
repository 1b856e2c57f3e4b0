"""A seller who issues documents of every kind and takes them away as e-invoices, over HTTP."""

from __future__ import annotations

import io
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx
import pikepdf
from lxml import etree

from farthing.invoices.einvoice.model import Format
from tests.account import Account
from tests.billing.office import Office
from tests.credits.notes.notebook import Notebook
from tests.invoices.desk import PRICE, fixed, usage

SELLER: dict[str, Any] = {
    "legal_name": "Farthing GmbH",
    "vat_id": "DE 123 456 789",
    "tax_number": "12/345/67890",
    "registration_number": "HRB 4711",
    "address": {"line1": "Hauptstraße 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
    "electronic_address": {"scheme": "9930", "id": "DE123456789"},
    "contact": {"name": "Ada Lovelace", "phone": "+49 30 123456", "email": "billing@example.com"},
    "payment": {"iban": "DE89 3704 0044 0532 0130 00", "bic": "COBADEFFXXX", "means_code": "58"},
    "default_vat_category": "Z",
}
BUYER: dict[str, Any] = {
    "name": "Stadt Bonn & Söhne <GmbH>",
    "address_line1": "Rathausgasse 5",
    "address_city": "Bonn",
    "address_postal_code": "53111",
    "address_country": "DE",
    "tax_id": "DE987654321",
    "metadata": {
        "buyer_reference": "04011000-12345-34",
        "electronic_address_scheme": "0204",
        "electronic_address_id": "04011000-12345-34",
    },
}
ABROAD: dict[str, Any] = {
    **BUYER,
    "name": "Société Générique SA",
    "address_city": "Lyon",
    "address_postal_code": "69001",
    "address_country": "FR",
    "tax_id": "FR40303265045",
}
NAMESPACES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}
UBL_TOTALS = (
    "LineExtensionAmount",
    "AllowanceTotalAmount",
    "TaxExclusiveAmount",
    "TaxInclusiveAmount",
    "PrepaidAmount",
    "PayableAmount",
)
CII_TOTALS = (
    "LineTotalAmount",
    "AllowanceTotalAmount",
    "TaxBasisTotalAmount",
    "GrandTotalAmount",
    "TotalPrepaidAmount",
    "DuePayableAmount",
)
TOTALS = ("lines", "allowances", "net", "gross", "prepaid", "payable")


def xml_of(content: bytes) -> bytes:
    """The XML of a document: a PDF's is the one file in it."""
    if not content.startswith(b"%PDF"):
        return content
    with pikepdf.open(io.BytesIO(content)) as pdf:
        return bytes(pdf.attachments["factur-x.xml"].get_file().read_bytes())


def totals_of(content: bytes) -> dict[str, Decimal]:
    """The totals that a document states, by the words of `TOTALS`, and its `tax`; what it does not state is 0."""
    root = etree.fromstring(xml_of(content))
    is_ubl = "oasis" in str(root.tag)
    prefix, names = ("cbc", UBL_TOTALS) if is_ubl else ("ram", CII_TOTALS)
    where = "cac:LegalMonetaryTotal" if is_ubl else "ram:SpecifiedTradeSettlementHeaderMonetarySummation"
    stated = {
        word: Decimal(root.findtext(f".//{where}/{prefix}:{name}", default="0", namespaces=NAMESPACES))
        for word, name in zip(TOTALS, names, strict=True)
    }
    tax = "cac:TaxTotal/cbc:TaxAmount" if is_ubl else f".//{where}/ram:TaxTotalAmount"
    return {**stated, "tax": Decimal(root.findtext(tax, default="0", namespaces=NAMESPACES))}


class Exporter:
    """One account's e-invoices."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.office = Office(account)
        self.notebook = Notebook(account)
        self.desk = self.notebook.desk

    async def configure(self, **changes: Any) -> None:
        """Say who sells, with changes to `SELLER`."""
        await self.account.put("/settings/einvoice_config", {"value": {**SELLER, **changes}})

    async def buyer(self, details: Mapping[str, Any] = BUYER, **changes: Any) -> str:
        return await self.desk.customer(**{**details, **changes})

    async def vat(self, value: str, **metadata: str) -> str:
        """A tax rate with what it says of VAT, such as `category="AE"`."""
        said = {f"vat_{name}": text for name, text in metadata.items()}
        return await self.desk.tax(value, metadata=said)

    async def file(self, path: str, wanted: Format | str) -> httpx.Response:
        return await self.account.http.get(f"{path}/einvoice", params={"format": str(wanted)})

    async def document(self, path: str, wanted: Format | str = Format.XRECHNUNG_UBL) -> bytes:
        """The document at `path`, which must be there."""
        answer = await self.file(path, wanted)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def refusal(self, path: str, wanted: Format | str = Format.XRECHNUNG_UBL) -> dict[str, str]:
        """What stands against the document at `path`, by field."""
        answer = await self.file(path, wanted)
        assert answer.status_code == 400, answer.text
        details: dict[str, str] = answer.json()["details"]
        return details

    # documents, each of another kind; all answer the path

    async def one_off(self, **more: Any) -> str:
        """A one-off invoice of 100 at 19 %, due in a month."""
        terms = {"customer": await self.buyer(), "tax_rates": [await self.vat("19%")], "currency": "eur", **more}
        invoice = await self.desk.invoice([fixed("100")], **{"due_date": "2098-01-01T00:00:00Z", **terms})
        return f"/invoices/{invoice['id']}"

    async def discounted_and_prepaid(self) -> str:
        """Usage 80 at 25 % off, a fee of 20, 10 off the whole, 5 of prepaid credits, 8.25 % tax: 70.78 to pay."""
        customer = await self.buyer()
        await self.account.post(
            "/wallets", {"customer_id": customer, "currency": "usd", "initial_credits_to_load": "5"}, expect=200
        )
        line, whole = await self.desk.coupon("25%"), await self.desk.coupon("10")
        invoice = await self.desk.invoice(
            [usage("80", quantity="12.5", price_id=PRICE), fixed("20")],
            customer,
            line_item_coupons=[{"line_item_id": PRICE, "coupon_id": line}],
            invoice_coupons=[{"coupon_id": whole}],
            tax_rates=[await self.desk.tax("8.25%")],
            due_date="2098-01-01T00:00:00Z",
        )
        return f"/invoices/{invoice['id']}"

    async def without_vat(self, category: str, reason: str = "", code: str = "", **buyer: Any) -> str:
        """A one-off invoice of 100 in a category that charges no VAT."""
        said = {name: text for name, text in (("exemption_reason", reason), ("exemption_code", code)) if text}
        rate = await self.vat("0%", category=category, **said)
        return await self.one_off(
            customer=await self.buyer(ABROAD, **buyer),
            tax_rates=[rate],
            period_start="2026-03-01T00:00:00Z",
            period_end="2026-04-01T00:00:00Z",
        )

    async def subscription(self) -> list[str]:
        """A fee in advance, and usage by tiers with an allowance in arrear: 19 % until 1 July, 16 % after."""
        office = self.office
        await office.on("2026-01-01")
        await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0, due_date_days=14)
        feature = await office.feature("traffic")
        await self.account.put(f"/features/{feature['id']}", {"metadata": {"unit_code": "E34"}})
        tiers = [
            {"up_to": 10, "unit_amount": "5"},
            {"up_to": 20, "unit_amount": "4.005"},
            {"up_to": None, "unit_amount": "3"},
        ]
        plan = await office.plan(
            {
                **office.usage(feature, "0"),
                "currency": "eur",
                "billing_model": "TIERED",
                "tier_mode": "SLAB",
                "tiers": tiers,
            },
            {**_FEE, "amount": "49.90", "metadata": {"unit_code": "MON"}},
        )
        await office.entitle(plan, feature, usage_limit=3, usage_reset_period="MONTHLY")
        before, after = await self.desk.tax("19%"), await self.desk.tax("16%")
        codes = {rate["id"]: rate["code"] for rate in (await self.account.get("/taxes/rates"))["items"]}
        customer = await office.customer(**{**BUYER, "name": "tenant"}, timezone="Europe/Berlin")
        await self.account.put(f"/customers/{customer['id']}", {"name": BUYER["name"]})
        for rate, window in ((before, {"end_date": _SWITCH}), (after, {"start_date": _SWITCH})):
            link = {
                "tax_rate_code": codes[rate],
                "entity_type": "customer",
                "entity_id": customer["id"],
                **_SINCE,
                **window,
            }
            await self.account.post("/taxes/associations", {**link, "auto_apply": True}, expect=200)
        await office.on("2026-05-31T22:00")
        await office.subscribed(plan, customer, currency="eur")
        await office.used("traffic", customer, 27, "2026-06-10")
        await office.run("2026-06-30T23:00")
        return [f"/invoices/{invoice.id}" for invoice in await office.invoices()]

    async def note(self, amount: str = "59.50", **more: Any) -> str:
        """A note on a one-off invoice of 100 at 19 %."""
        invoice = await self.account.get(await self.one_off())
        note = await self.notebook.credit(invoice, amount, **more)
        return f"/creditnotes/{note['id']}"


_SWITCH = "2026-06-30T22:00:00Z"
"""Midnight of 1 July in Berlin."""
_SINCE = {"start_date": "2020-01-01T00:00:00Z"}
_FEE = {
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "price_unit_type": "FIAT",
    "billing_period": "MONTHLY",
    "invoice_cadence": "ADVANCE",
    "currency": "eur",
    "start_date": "2020-01-01T00:00:00Z",
}
