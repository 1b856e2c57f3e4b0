"""One thing changed in two tabs: the second is told what the first did, and nothing is written over unseen."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.invoices.desk import Desk
from tests.web.browsing import sign_in
from tests.web.stage import Stage


@pytest.mark.parametrize("address", ["edit", "billing-details"])
async def test_a_change_from_another_tab_is_not_written_over_unseen(page: Page, own: Stage, address: str) -> None:
    customer = await Desk(own.account).customer()
    await sign_in(page, own)
    path = f"/customers/{customer}/{address}"
    await page.goto(path)
    other = await page.context.new_page()
    await other.goto(path)
    await other.get_by_label("City").fill("Porto")
    await other.get_by_role("button", name="Save").last.click()
    await expect(other.get_by_role("status").first).to_contain_text("Saved")
    await page.get_by_label("Street").fill("Rua Nova 1")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_text("is “Porto” by now")).to_be_visible()
    await expect(page.get_by_label("Street")).to_have_value("Rua Nova 1")
    stored = await own.account.get(f"/customers/{customer}")
    assert (stored["address_city"], stored.get("address_line1", "")) == ("Porto", "")
    await page.get_by_label("City").fill("Braga")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_role("status").first).to_contain_text("Saved")
    stored = await own.account.get(f"/customers/{customer}")
    assert (stored["address_city"], stored["address_line1"]) == ("Braga", "Rua Nova 1")
