"""Connections on pages: made, tried, given new keys and ended, with no key ever shown."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_a_system_is_connected_tried_rekeyed_and_disconnected(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/integrations")
    await page.get_by_role("link", name="Connect a system").click()
    await page.get_by_label("Name").fill("Card payments")
    await page.get_by_label("Secret key").fill("sk_live_0123456789")
    await page.get_by_role("button", name="Connect it").last.click()
    await expect(page.get_by_text("is a live key, which only a production environment takes")).to_be_visible()
    assert "sk_live_0123456789" not in await page.content()
    await page.get_by_label("Secret key").fill("")
    await page.get_by_label("Simulate it").check()
    await page.get_by_role("button", name="Connect it").last.click()
    await expect(page.get_by_role("status")).to_have_text("Card payments is connected.")
    (made,) = (await own.account.get("/connections"))["connections"]
    assert (made["provider_type"], made["metadata"]) == ("stripe", {"mode": "test"})
    address = f"/v1/webhooks/stripe/{own.account.tenant_id}/{own.account.environment_id}"
    await expect(page.locator("code", has_text=address)).to_be_visible()
    await page.get_by_role("button", name="Try it on Card payments").click()
    await expect(page.get_by_role("status")).to_have_text("The built-in provider answers; no money moves.")
    await page.get_by_role("link", name="Disconnect Card payments").click()
    await page.get_by_role("button", name="Disconnect it").click()
    await expect(page.get_by_text("Nothing is connected.")).to_be_visible()
    assert (await own.account.get("/connections"))["connections"] == []
