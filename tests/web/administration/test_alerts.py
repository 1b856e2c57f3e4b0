"""Somebody watches spend and a wallet from pages alone, and finds what happened."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.credits.wallets.test_wallets import new_wallet, top_up
from tests.subscriptions.shop import Shop
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_spend_and_a_wallet_are_watched_from_pages_alone(page: Page, own: Stage) -> None:
    shop = Shop(own.account)
    await shop.on("2026-05-01")
    calls, customer = await shop.feature("calls"), await shop.customer("watched")
    subscription = (await shop.subscribe(await shop.plan(shop.usage(calls, "1")), customer)).subscription
    wallet = await new_wallet(own.account)
    await sign_in(page, own)
    await page.goto(f"/subscriptions/{subscription.id}")
    await page.get_by_text("Watch spend").click()
    await page.get_by_label("In alarm from").fill("50")
    await page.get_by_label("A warning from").fill("80")
    await page.get_by_role("button", name="Watch it").click()
    await expect(page.get_by_role("status")).to_contain_text("threshold")
    # the form stands open as it was sent
    await expect(page.get_by_label("A warning from")).to_have_value("80")
    await page.get_by_label("In alarm from").fill("100")
    await page.get_by_role("button", name="Watch it").click()
    await expect(page.get_by_role("status")).to_contain_text("The spend is watched.")
    sentence = "The spend of a period is in alarm at $100.00, a warning at $80.00 or more."
    await expect(page.get_by_role("cell", name=sentence)).to_be_visible()
    (setting,) = (await own.account.post("/alerts/setting/search", {}, expect=200))["items"]
    assert (setting["entity_id"], setting["enabled"]) == (subscription.id, True)
    await page.goto(f"/wallets/{wallet['id']}")
    await page.get_by_text("Thresholds", exact=True).click()
    await page.get_by_label("This wallet has").select_option("own")
    await page.get_by_label("In alarm at, or below").fill("20")
    await page.get_by_role("button", name="Set them").click()
    await expect(page.get_by_text("Its balance is in alarm at 20 credits or less.")).to_be_visible()
    await top_up(own.account, wallet, "10")
    await page.goto("/alerts?state=in_alarm")
    await page.get_by_role("link", name=wallet["name"]).click()
    await expect(page.get_by_role("heading", name=wallet["name"])).to_be_visible()
    await expect(page.get_by_role("rowheader", name=wallet["name"])).to_be_visible()
    await expect(page.get_by_role("cell", name="10 credits", exact=True)).to_be_visible()
    await page.goto(f"/subscriptions/{subscription.id}")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Remove The whole subscription").click()
    await expect(page.get_by_text("Nobody watches the spend of this subscription.")).to_be_visible()
