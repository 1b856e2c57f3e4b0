"""E-invoices from the pages alone: what is missing leads to where it is set, and then the file is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from tests.credits.notes.notebook import Notebook
from tests.invoices.desk import fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage

SELLER = {
    "legal_name": "Farthing GmbH",
    "vat_id": "DE123456789",
    "address.city": "Berlin",
    "address.postal_code": "10115",
    "address.country": "DE",
    "electronic_address.scheme": "9930",
    "electronic_address.id": "DE123456789",
    "contact.name": "Ada",
    "contact.phone": "+49 30 123",
    "contact.email": "ada@example.com",
    "payment.iban": "DE89370400440532013000",
    "payment_terms_text": "Within 14 days",
}
BUYER = {
    "address_line1": "Rathausgasse 5",
    "address_postal_code": "53111",
    "address_city": "Bonn",
    "address_country": "DE",
    "metadata.buyer_reference": "04011000-12345-34",
    "metadata.electronic_address_scheme": "0204",
    "metadata.electronic_address_id": "04011000-12345-34",
}


async def fill(page: Page, fields: dict[str, str]) -> None:
    for name, text in fields.items():
        field = page.locator(f"[name='{name}']")
        await (field.select_option(text) if name.endswith("country") else field.fill(text))
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()


async def test_what_is_missing_leads_to_where_it_is_set(page: Page, own: Stage, tmp_path: Path) -> None:
    notebook = Notebook(own.account)
    rate = await notebook.desk.tax("19%")
    invoice = await notebook.desk.invoice([fixed("100")], tax_rates=[rate])
    note = await notebook.credit(invoice, "59.50")
    await sign_in(page, own)
    here = f"/invoices/{invoice['id']}"
    await page.goto(here)
    await page.get_by_role("link", name="E-invoice").click()
    xrechnung = page.get_by_role("region", name="XRechnung (UBL)")
    await xrechnung.get_by_role("link", name="Your legal name").click()
    await fill(page, SELLER)
    assert (await own.account.get("/settings/einvoice_config"))["value"]["address"]["city"] == "Berlin"
    await page.goto(f"{here}/e-invoice")
    await xrechnung.get_by_role("link", name="The customer’s city").click()
    await fill(page, BUYER)
    for start, name in ((here, invoice["invoice_number"]), (f"/credit-notes/{note['id']}", note["credit_note_number"])):
        await page.goto(start)
        await page.get_by_role("link", name="E-invoice").click()
        for title, ending in (
            ("XRechnung (UBL)", "xrechnung-ubl.xml"),
            ("XRechnung (CII)", "xrechnung-cii.xml"),
            ("Peppol BIS Billing", "peppol-ubl.xml"),
            ("Factur-X (PDF)", "facturx.pdf"),
        ):
            async with page.expect_download() as download:
                await page.get_by_role("link", name=f"Download {title}").click()
            file = await download.value
            assert file.suggested_filename == f"{name}-{ending}"
            await file.save_as(tmp_path / ending)
        assert (tmp_path / "facturx.pdf").read_bytes().startswith(b"%PDF")


async def test_a_customer_fetches_what_is_complete(page: Page, own: Stage) -> None:
    await own.account.put(
        "/settings/einvoice_config",
        {"value": {"legal_name": "Farthing", "vat_id": "DE123456789", "address": {"country": "DE"}}},
    )
    notebook = Notebook(own.account)
    rate = await notebook.desk.tax("19%")
    customer = await notebook.desk.customer(external_id="buyer", address_country="DE")
    due: dict[str, Any] = {"due_date": "2098-01-01T00:00:00Z"}
    invoice = await notebook.desk.invoice([fixed("100")], customer, tax_rates=[rate], **due)
    token = (await own.account.get("/customers/portal/buyer"))["token"]
    await page.goto(f"/portal/{token}/invoices/{invoice['id']}")
    await expect(page.get_by_role("link", name="XRechnung")).to_have_count(0)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Factur-X (PDF)").click()
    assert (await download.value).suggested_filename == f"{invoice['invoice_number']}-facturx.pdf"
