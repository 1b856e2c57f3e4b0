"""Somebody sets, changes and ends exchange rates from pages alone, and sees what an invoice was converted from."""

from __future__ import annotations

import os

from playwright.async_api import Page, expect

from tests.billing.counter import opened
from tests.billing.office import Office
from tests.subscriptions.shop import fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_rates_and_a_converted_invoice_on_pages(page: Page, own: Stage) -> None:
    office = Office(own.account)
    await office.on("2026-05-01")
    customer = await office.customer("abroad", billing_currency="inr")
    await sign_in(page, own)
    await page.goto("/exchange-rates")
    await expect(page.get_by_text("No rate yet.")).to_be_visible()
    for scope, scope_id, figure in (("tenant", "", "83.125"), ("customer", customer["id"], "84.5")):
        await page.get_by_text("Set a rate").click()
        form = page.locator("form[action='/exchange-rates']").filter(has=page.locator("select[name=scope]"))
        for name, given in (("from_currency", "usd"), ("to_currency", "inr"), ("rate", figure), ("scope_id", scope_id)):
            await form.locator(f"input[name={name}]").fill(given)
        await form.locator("select[name=scope]").select_option(scope)
        await page.get_by_role("button", name="Set it").click()
        await expect(page.get_by_role("status")).to_contain_text("USD to INR is set.")
    await expect(page.get_by_role("link", name="abroad")).to_be_visible()
    await _picture(page, "exchange-rates")
    subscription = await opened(office, await office.plan(fixed("19.99")), customer)
    (invoice,) = (await own.account.get("/invoices", subscription_id=subscription["id"]))["items"]
    await page.goto(f"/invoices/{invoice['id']}")
    sentence = page.locator("#conversion")
    await expect(sentence).to_contain_text("Charged in USD")
    await expect(sentence).to_contain_text("84.5 INR for 1 USD (the customer's own rate")
    await _picture(page, "converted-invoice")
    pdf = await own.account.http.get(f"/invoices/{invoice['id']}/pdf")
    assert pdf.content.startswith(b"%PDF")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.goto("/exchange-rates")
    await page.get_by_role("button", name="End USD to INR").click()
    await expect(page.get_by_role("status")).to_contain_text("has ended")
    await page.get_by_text("Import reference rates").click()
    await page.get_by_label("File").fill("Date,USD\n2026-05-04,abc\n")
    await page.get_by_role("button", name="Import it").click()
    await expect(page.get_by_role("status")).to_contain_text("line 2, USD")


async def _picture(page: Page, name: str) -> None:
    folder = os.environ.get("FX_PICTURES")
    if not folder:
        return
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size({"width": width, "height": 900})
            await page.screenshot(path=f"{folder}/{name}-{scheme}-{width}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 1280, "height": 900})
