"""Events and invoices are corrected from the pages alone, checked over the API."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.billing.corrections.correcting import january, notes, sell, void
from tests.billing.office import Office
from tests.web.browsing import has_axe, serious_findings, sign_in
from tests.web.stage import Stage


async def test_an_event_is_amended_and_voided_and_its_history_is_shown(page: Page, own: Stage) -> None:
    office = Office(own.account)
    await office.on("2026-01-01")
    await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    await sell(office, count=2)
    await sign_in(page, own)
    await page.goto("/events/one?id=e0")
    await page.get_by_text("Amend", exact=True).click()
    await page.get_by_label("Properties").fill('{"tokens": 1.50}')
    await page.get_by_label("Reason").first.fill("Ten times too many")
    await page.get_by_role("button", name="Amend it").click()
    await expect(page.get_by_role("region", name="History")).to_contain_text("Ten times too many")
    found = await office.account.get("/events/e0")
    assert found["event"]["properties"] == {"tokens": 1.5}
    await page.get_by_text("Void", exact=True).click()
    await page.get_by_label("Reason").last.fill("A test")
    await page.get_by_role("button", name="Void it").click()
    await expect(page.get_by_text("It counts nowhere any more.")).to_be_visible()
    await expect(page.get_by_text("Void", exact=True)).to_be_visible()
    assert (await office.account.get("/events/e0"))["voided"]["reason"] == "A test"


async def test_an_invoice_is_measured_again_and_corrected(page: Page, own: Stage) -> None:
    office = Office(own.account)
    await office.on("2026-01-01")
    await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    subscription, _ = await sell(office, count=10)
    invoice = await january(office, subscription)
    await void(office, "e0", "e1", "e2")
    await sign_in(page, own)
    await page.goto(f"/invoices/{invoice.id}")
    await page.get_by_role("link", name="Check usage").click()
    await expect(page.get_by_role("region", name="Lines")).to_contain_text("\N{MINUS SIGN}$3.00")
    assert not has_axe() or await serious_findings(page) == []
    await page.get_by_text("Credit now").first.click()
    await page.get_by_role("button", name="Credit now").click()
    await expect(page.get_by_role("region", name="Corrections")).to_contain_text("$3.00")
    assert await notes(office, invoice) == [("ADJUSTMENT", "3")]
