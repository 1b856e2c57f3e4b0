"""What was typed is not lost: over a refusal, over a session that ended, and where a stored value is none of a list."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect
from sqlalchemy import update

from farthing.customers.tables import Customer
from tests.web.browsing import sign_in
from tests.web.stage import PASSWORD, Stage
from tests.web.visitor import FORM_TOKEN, Visitor


async def test_a_session_that_ended_in_mid_form_loses_nothing_that_was_typed(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/customers/new")
    await page.get_by_label("Name", exact=True).fill("Łódź & Söhne")
    await page.get_by_label("Country").select_option("PL")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Create the customer").last.click()
    await expect(page.get_by_text("Your session had ended, so nothing was done.")).to_be_visible()
    await page.get_by_label("E-mail").fill(own.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="New customer")).to_be_visible()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Łódź & Söhne")
    await expect(page.get_by_label("Country")).to_have_value("PL")
    await page.get_by_role("button", name="Create the customer").last.click()
    await expect(page.get_by_text("Łódź & Söhne is a customer now.")).to_be_visible()
    # what was carried out is not typed again
    await page.goto("/customers/new")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("")


async def test_a_refused_form_stands_at_its_first_wrong_field(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/company")
    await page.get_by_label("IBAN").fill("DE00 1234")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_text("Nothing was saved. 1 field needs another look.")).to_be_visible()
    await expect(page.get_by_label("IBAN")).to_be_focused()


async def test_a_key_is_made_once_however_often_its_button_is_pressed(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/keys")
    await page.get_by_text("New key").click()
    await page.get_by_label("What it is for").fill("Pressed twice")
    await page.get_by_role("button", name="Create the key").dblclick()
    await expect(page.get_by_text("This is the new key.")).to_be_visible()
    await page.goto("/keys")
    await expect(page.get_by_role("rowheader", name="Pressed twice")).to_have_count(1)


@pytest.mark.parametrize(
    ("sent_from", "leads_to"),
    [
        pytest.param("/wallets/wallet_1?page=2", "%2Fwallets%2Fwallet_1%3Fpage%3D2", id="the page of the form"),
        pytest.param("https://elsewhere.example/wallets", "%2F", id="another site"),
        pytest.param("", "%2F", id="nothing said"),
    ],
)
async def test_a_form_without_a_session_leads_back_to_its_page(
    outside: Visitor, own: Stage, sent_from: str, leads_to: str
) -> None:
    referer = own.account.base_url + sent_from if sent_from.startswith("/") else sent_from
    answer = await outside.post("/keys", {"name": "x"}, **({"referer": referer} if referer else {}))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?ended=yes&next={leads_to}")


async def test_a_stored_value_outside_a_list_is_shown_and_kept_by_a_save(inside: Visitor, own: Stage) -> None:
    wallet_of = await own.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    wallet = await own.account.post("/wallets", {"customer_id": wallet_of["id"], "currency": "usd"}, expect=200)
    await own.account.put(f"/wallets/{wallet['id']}", {"alert_settings": {"alert_enabled": False}})
    page = (await inside.http.get(f"/wallets/{wallet['id']}")).text
    assert '<option value="off" selected>' in page
    customer = await own.account.post("/customers", {"external_id": "far", "name": "Far", "timezone": "EST5EDT"})
    async with own.account.transaction() as session:
        former = update(Customer).where(Customer.id == customer["id"]).values(address_country="AN")
        await session.execute(former)
    path = f"/customers/{customer['id']}/edit"
    page = (await inside.http.get(path)).text
    for value in ("AN", "EST5EDT"):
        assert f'<option value="{value}" selected>' in page
    saved = {"form_token": await inside.token(path), "once": await inside.once(path), "name": "Far away"}
    saved |= {"address_country": "AN", "timezone": "EST5EDT", "external_id": "far", "tax_treatment": "taxable"}
    answer = await inside.post(path, saved)
    assert answer.status_code == 303, answer.text
    portal = f"/portal/{(await own.account.get('/customers/portal/far'))['token']}/details"
    page = (await inside.http.get(portal)).text
    assert '<option value="AN" selected>' in page
    token = FORM_TOKEN.search(page)
    changed = {"name": "Far out", "address_country": "AN", "form_token": token[1] if token else ""}
    assert (await inside.post(portal, changed)).status_code == 303
    kept = await own.account.get(f"/customers/{customer['id']}")
    assert (kept["name"], kept["address_country"], kept["timezone"]) == ("Far out", "AN", "EST5EDT")
