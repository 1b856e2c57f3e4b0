"""Connections on pages: made, tried, given new keys and ended, with no key ever shown."""

from __future__ import annotations

from playwright.async_api import Page, expect

from farthing.payments.integrations.credentials import Safe
from farthing.payments.integrations.gateways import sealed_for
from farthing.payments.tables import Connection
from tests.account import Account
from tests.web.browsing import sign_in
from tests.web.stage import Stage
from tests.web.visitor import Visitor


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


async def test_a_reader_sees_what_is_connected_and_no_button(own: Stage, outside: Visitor) -> None:
    keys = {"secret_key": "sk_test_seen_by_nobody", "webhook_secret": "whsec_seen_by_nobody"}
    body = {"name": "Card payments", "provider_type": "stripe", "encrypted_secret_data": keys}
    connection = await own.account.post("/connections", body)
    await own.admit(["all_reader"])
    await outside.sign_in(own)
    page = (await outside.http.get("/integrations")).text
    assert "Card payments" in page
    assert not any(words in page for words in ("seen_by_nobody", "Try it", "Disconnect", "/integrations/new"))
    token = await outside.token("/invoices")
    path = f"/integrations/{connection['id']}"
    for form in ("/integrations/new", f"{path}/edit", f"{path}/disconnect"):
        assert (await outside.http.get(form)).status_code == 403, form
    for form in ("/integrations/new", f"{path}/edit", f"{path}/disconnect", f"{path}/try"):
        assert (await outside.post(form, {"form_token": token, "name": "x"})).status_code == 403, form


async def test_a_marketplace_says_what_it_is_told(own: Stage, inside: Visitor) -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    body = {"name": "Our marketplace", "provider_type": "aws_marketplace", "encrypted_secret_data": keys}
    await own.account.post("/connections", body)
    page = (await inside.http.get("/integrations")).text
    assert "is told every hour what their usage came to" in page
    assert ">Active<" in page


async def test_keys_are_replaced_one_by_one_and_nobody_else_s_are_reached(
    own: Stage, inside: Visitor, stranger: Account
) -> None:
    keys = {"secret_key": "sk_test_first", "webhook_secret": "whsec_first"}
    body = {"name": "Card payments", "provider_type": "stripe", "encrypted_secret_data": keys}
    mine, foreign = [await account.post("/connections", body) for account in (own.account, stranger)]
    token = await inside.token()
    path = f"/integrations/{mine['id']}/edit"
    assert "_first" not in (await inside.http.get(path)).text
    given = {"form_token": token, "name": "Cards", "encrypted_secret_data.secret_key": "sk_test_second"}
    assert (await inside.post(path, given)).status_code == 303
    async with own.account.transaction(read_only=True) as session:
        row = await session.get_one(Connection, mine["id"])
    safe = Safe(own.account.settings.master_key())
    opened = safe.open(row.credentials, row.credentials_key_id, sealed_for(row.environment_id, row.id))
    assert (row.name, opened) == ("Cards", {"secret_key": "sk_test_second", "webhook_secret": "whsec_first"})
    for way in ("edit", "disconnect"):
        assert (await inside.http.get(f"/integrations/{foreign['id']}/{way}")).status_code == 404
    await inside.post(f"/integrations/{foreign['id']}/disconnect", {"form_token": token})
    assert (await stranger.get(f"/connections/{foreign['id']}"))["status"] == "published"
