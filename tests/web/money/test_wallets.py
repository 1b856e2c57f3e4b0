"""A finance person sells credits, takes some back and closes a wallet, from pages alone."""

from __future__ import annotations

from typing import Any

import httpx
from playwright.async_api import Page, expect

from tests.customers.conftest import new_customer
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_credits_are_sold_taken_and_closed_from_pages_alone(page: Page, own: Stage) -> None:
    customer = await new_customer(own.account)
    await sign_in(page, own)
    await page.goto(f"/customers/{customer['id']}")
    await page.get_by_text("Open a wallet").click()
    await page.get_by_label("Currency").fill("usd")
    await page.get_by_role("button", name="Open it").click()
    await expect(page.get_by_role("heading", name="Prepaid Wallet - USD")).to_be_visible()
    await page.get_by_text("Add credits").first.click()
    await page.get_by_label("Credits", exact=True).first.fill("1,000")
    await page.get_by_label("Why").select_option("PURCHASED_CREDIT_DIRECT")
    await page.get_by_label("Bonus").fill("150")
    await page.get_by_role("button", name="Add them").click()
    await expect(page.get_by_text("The credits are added.")).to_be_visible()
    await page.get_by_text("Add credits").first.click()
    await page.get_by_label("Credits", exact=True).first.fill("200")
    await page.get_by_role("button", name="Add them").click()
    await expect(page.get_by_text("The credits come once their invoice is paid.")).to_be_visible()
    await page.get_by_text("Take credits").first.click()
    await page.get_by_label("Credits", exact=True).last.fill("50")
    await page.get_by_role("button", name="Take them").click()
    await expect(page.get_by_text("The credits are taken.")).to_be_visible()
    (wallet,) = await own.account.get(f"/customers/{customer['id']}/wallets", expand="credits_available_breakdown")
    assert wallet["credits_available_breakdown"] == {"purchased": "950", "free": "150"}
    await page.get_by_text("Add credits").first.click()
    await page.get_by_label("Credits", exact=True).first.fill("many")
    await page.get_by_role("button", name="Add them").click()
    await expect(page.get_by_text("credits").first).to_be_visible()
    await page.get_by_text("Close", exact=True).click()
    await page.get_by_role("button", name="Close it").click()
    await expect(page.get_by_text("The wallet is closed.")).to_be_visible()
    assert await own.account.get(f"/customers/{customer['id']}/wallets") == []


async def test_the_portal_shows_credits_and_their_movements(page: Page, stage: Stage) -> None:
    token = (await stage.account.get(f"/customers/portal/{stage.customers[0]['external_id']}"))["token"]
    await page.goto(f"/portal/{token}")
    await expect(page.get_by_role("heading", name="Credits")).to_be_visible()
    await expect(page.get_by_role("cell", name="Correction")).to_be_visible()
    await expect(page.get_by_text("1,177.5").first).to_be_visible()


async def test_a_customer_buys_credits_in_the_portal(page: Page, own: Stage) -> None:
    customer = await new_customer(own.account)
    await own.account.post("/connections", {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}})
    body = {"customer_id": customer["id"], "currency": "usd", "topup_conversion_rate": "0.8"}
    wallet = await own.account.post("/wallets", body, 200)
    token = (await own.account.get(f"/customers/portal/{customer['external_id']}"))["token"]
    await page.goto(f"/portal/{token}")
    await expect(page.get_by_text("$0.80 each")).to_be_visible()
    await page.get_by_label("Credits to buy").fill("1,000")
    await page.get_by_role("button", name="Buy credits").click()
    await page.get_by_role("link", name="Pay $800.00").click()
    await page.get_by_role("button", name="Let it be declined").click()
    await expect(page.get_by_role("alert")).to_contain_text("declined")
    assert (await own.account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "0"
    await page.get_by_role("button", name="Pay now").click()
    await expect(page.get_by_role("heading", name="Paid. Thank you.")).to_be_visible()
    assert (await own.account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "1000"
    await page.goto(f"/portal/{token}")
    await expect(page.get_by_text("credits, worth $1,000.00")).to_be_visible()
    await expect(page.get_by_text("Purchase by invoice")).to_be_visible()


async def test_nobody_buys_for_anothers_wallet_and_nothing_comes_of_nonsense(own: Stage) -> None:
    """Without a provider nobody buys; the wallet of another is not there; a text is no number."""
    customer, other = await new_customer(own.account), await new_customer(own.account, external_id="other")
    wallets = {
        payer["id"]: await own.account.post("/wallets", {"customer_id": payer["id"], "currency": "usd"}, 200)
        for payer in (customer, other)
    }
    token = (await own.account.get(f"/customers/portal/{customer['external_id']}"))["token"]

    async def buy(wallet: dict[str, Any], credits: str) -> str:
        async with httpx.AsyncClient(base_url=own.account.base_url, follow_redirects=True) as visitor:
            path = f"/portal/{token}/wallets/{wallet['id']}/buy"
            headers = {"origin": own.account.base_url}
            answer = await visitor.post(path, data={"credits": credits, "once": "1"}, headers=headers)
        return answer.text

    assert "This is not possible at the moment" in await buy(wallets[customer["id"]], "10")
    await own.account.post("/connections", {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}})
    assert "This does not exist any more" in await buy(wallets[other["id"]], "10")
    assert "Credits must be a number, such as 1500 or 0.50" in await buy(wallets[customer["id"]], "many")
    for wallet in wallets.values():
        assert (await own.account.get(f"/wallets/{wallet['id']}/transactions"))["items"] == []
