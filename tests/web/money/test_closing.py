"""A month is closed on the pages alone: from who owes most to a file of the tax that agrees with the books."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from playwright.async_api import Page, expect

from farthing.reporting.analytics.catalogue import METRICS
from farthing.web.dashboard.overview.named_ranges import named_days
from tests.invoices.desk import Desk, fixed
from tests.reporting.reconciliation import unreconciled
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_a_month_is_closed_and_its_tax_agrees_with_the_books(page: Page, own: Stage, tmp_path: Path) -> None:
    account, desk = own.account, Desk(own.account)
    vat = [await desk.tax("20%", name="VAT")]
    debtor, other = await desk.customer(name="Brightwater"), await desk.customer(name="Elsewhere")
    invoices = [
        await desk.invoice([fixed(amount)], debtor, due_date=f"2030-01-0{day}T00:00:00Z", tax_rates=vat)
        for day, amount in enumerate(("100", "50", "25"), start=1)
    ]
    await desk.invoice([fixed("10")], other, tax_rates=vat)
    await sign_in(page, own)

    # who owes most, and why
    owing = page.get_by_role("region", name="In USD").locator("tbody tr", has=page.locator("th.name"))
    await expect(owing.first).to_contain_text("$210.00")
    await owing.first.get_by_role("link", name="Brightwater").click()
    await page.get_by_role("link", name=invoices[0]["invoice_number"]).first.click()

    # half of the first was never delivered: 50 and its tax go back
    await page.get_by_role("link", name="Credit note", exact=True).click()
    await page.get_by_label("Credit of fixed 100").fill("60")
    await page.get_by_role("button", name="See what will happen").click()
    await page.get_by_role("button", name="Issue this credit note").click()
    await expect(page.get_by_text("is issued.")).to_be_visible()

    # one transfer over the three of them
    await page.goto(f"/payments/new?customer={debtor}&currency=usd")
    await page.get_by_label("Amount in USD").fill("150")
    await page.get_by_role("button", name="Spread it").click()
    for invoice, amount in zip(invoices, ("60.00", "60.00", "30.00"), strict=True):
        await expect(page.get_by_label(f"Paid on {invoice['invoice_number']}")).to_have_value(amount)
    await page.get_by_role("button", name="Record the payment").click()
    await expect(page.get_by_role("heading", name="$150.00")).to_be_visible()

    # the tax of the month as a file: what invoices said of it, less what the credit note took back
    await page.get_by_role("link", name="Reports", exact=True).click()
    await page.get_by_role("link", name="Tax", exact=True).first.click()
    figures = page.get_by_role("region", name="Figures")
    await expect(figures.locator("tbody tr").last).to_contain_text("$27.00")
    async with page.expect_download() as waiting:
        await page.get_by_role("link", name="Download as CSV").click()
    await (await waiting.value).save_as(tmp_path / "tax.csv")
    rows = list(csv.DictReader((tmp_path / "tax.csv").open()))
    assert {row["Tax rate"] for row in rows} == {"VAT"}
    filed = sum(Decimal(row[METRICS["tax_charged"].name]) for row in rows)
    issued = [await account.get(f"/invoices/{item['id']}") for item in (await account.get("/invoices"))["items"]]
    (note,) = (await account.get("/creditnotes"))["items"]
    assert filed == sum(Decimal(invoice["total_tax"]) for invoice in issued) - Decimal(note["tax_amount"]) == 27
    first, last = named_days("12_months", datetime.now(UTC).date())
    asked = {"range": f"{first}..{last + timedelta(days=1)}", "shape": "scalar", "currency": "usd"}
    assert (await account.post("/analytics/reports/tax_charged/query", asked, expect=200))["rows"] == [["27"]]

    # nothing is left but the invoice of somebody else, on every page and in the books
    await page.goto("/")
    await expect(owing).to_have_count(1)
    await expect(owing.first).to_contain_text("Elsewhere")
    await expect(page.get_by_role("region", name="In USD").get_by_role("link", name="$12.00").first).to_be_visible()
    await page.goto(f"/customers/{debtor}/statement")
    closing = page.get_by_role("region", name="Entries").locator("tbody tr").last.locator("td").last
    await expect(closing).to_have_text("$0.00")
    assert await unreconciled(account) == []
