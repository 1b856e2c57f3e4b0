"""Credit notes, refunds and unapplied money from the pages alone, checked over the API."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from tests.credits.notes.notebook import Notebook
from tests.credits.notes.test_unapplied_money import receive
from tests.invoices.desk import fixed, usage
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_an_unpaid_invoice_is_corrected_after_a_look_at_what_will_happen(page: Page, own: Stage) -> None:
    notebook = Notebook(own.account)
    rate = await notebook.desk.tax("19%")
    invoice = await notebook.desk.invoice([fixed("100"), usage("50")], tax_rates=[rate])
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}")
    await page.get_by_role("link", name="Credit note", exact=True).click()
    credited = page.get_by_label("Credit of fixed 100")
    for typed, refusal in (("500", "Must be at most 119"), ("49,00", "49,00 is no number")):
        await credited.fill(typed)
        await page.get_by_role("button", name="See what will happen").click()
        await expect(credited).to_have_accessible_description(re.compile(refusal))
        await expect(credited).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("[aria-invalid]")).to_have_count(1)
        await expect(page.get_by_role("alert")).to_have_text("Please look at the fields marked below.")
    await credited.fill("59.50")
    await page.get_by_label("Note to the customer").fill("Half of it was never delivered.")
    await page.get_by_role("button", name="See what will happen").click()
    outcome = page.get_by_role("region", name="What will happen")
    await expect(outcome).to_contain_text("$9.50")
    await expect(outcome).to_contain_text("$119.00")
    assert (await notebook.account.get("/creditnotes"))["items"] == []
    await page.get_by_role("button", name="Issue this credit note").click()
    await expect(page.get_by_text("is issued.")).to_be_visible()
    (note,) = (await notebook.account.get("/creditnotes"))["items"]
    assert (note["total_amount"], note["tax_amount"]) == ("59.5", "9.5")
    assert note["memo"] == "Half of it was never delivered."
    await page.goto(f"/invoices/{invoice['id']}")
    await expect(page.get_by_role("link", name=note["credit_note_number"])).to_be_visible()
    assert (await notebook.figures(invoice))["amount_remaining"] == "119"


async def test_a_paid_invoice_is_refunded_in_stated_parts(page: Page, own: Stage) -> None:
    notebook = Notebook(own.account)
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    invoice = await notebook.desk.invoice([fixed("100")], customer)
    await notebook.till.charge(invoice)
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}/credit-notes/new")
    await page.get_by_label("Credit of fixed 100").fill("100")
    await page.get_by_text("Split it").click()
    await page.get_by_label("Into the wallet").fill("20")
    await page.locator("input[name=back_to_source]").fill("50")
    await page.get_by_label("Off the next invoice").fill("30")
    await page.get_by_role("button", name="See what will happen").click()
    outcome = page.get_by_role("region", name="What will happen")
    await expect(outcome).to_contain_text("Back through the payment provider")
    await page.get_by_role("button", name="Issue this credit note").click()
    await expect(page.get_by_role("heading", name="Where the money went")).to_be_visible()
    assert (await notebook.figures(invoice))["payment_status"] == "REFUNDED"
    assert await notebook.wallet_value(customer) == 20
    assert await notebook.unapplied(customer) == {"usd": "30"}


async def test_an_overpayment_is_moved_and_pays_what_is_due_first(page: Page, own: Stage) -> None:
    notebook = Notebook(own.account)
    customer = await notebook.desk.customer()
    invoice = await notebook.desk.invoice([fixed("100")], customer)
    other = await notebook.desk.invoice([fixed("30")], customer)
    await notebook.till.pay(invoice, "140")
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice['id']}")
    await page.get_by_role("button", name="Move overpayment to balance").click()
    await expect(page.get_by_text("on the customer's balance now")).to_be_visible()
    await page.goto(f"/customers/{customer}")
    await page.get_by_role("button", name="Pay the invoices due first").click()
    await expect(page.get_by_text("Paid on 1 invoice.")).to_be_visible()
    assert await notebook.till.standing(other) == ("SUCCEEDED", "30", "0")
    assert await notebook.unapplied(customer) == {"usd": "10"}


async def test_unapplied_money_is_given_back(page: Page, own: Stage) -> None:
    notebook = Notebook(own.account)
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "100")
    await sign_in(page, own)
    await page.goto(f"/customers/{customer}")
    section = page.get_by_role("region", name="Unapplied money")
    await section.get_by_text("Give back").click()
    await section.get_by_label("Amount in USD").fill("200")
    await section.get_by_role("button", name="Give it back").click()
    await expect(page.get_by_text("at most what can go back that way, 100").first).to_be_visible()
    await section.get_by_label("Amount in USD").fill("60")
    await section.get_by_label("Reference").fill("Transfer 4711")
    await section.get_by_role("button", name="Give it back").click()
    await expect(page.get_by_text("The refund is settled.")).to_be_visible()
    await expect(section).to_contain_text("Transfer 4711")
    assert await notebook.unapplied(customer) == {"usd": "40"}
