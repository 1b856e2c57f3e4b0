"""Somebody in charge erases a customer from its page, once its name is typed."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.erasure.person import PERSON, traces
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_a_person_is_erased_once_its_name_is_typed(page: Page, own: Stage) -> None:
    customer = await own.account.post("/customers", PERSON)
    await sign_in(page, own)
    await page.goto(f"/customers/{customer['id']}")
    await page.get_by_role("link", name="Erase", exact=True).click()
    for typed, outcome in (("Ada", "as it stands above"), (PERSON["name"], "Erased.")):
        await page.get_by_label("to confirm").fill(typed)
        await page.get_by_role("button", name="Erase for ever").click()
        await expect(page.get_by_role("status")).to_contain_text(outcome)
    await expect(page.get_by_role("heading", name="Erased customer", exact=True)).to_be_visible()
    assert await traces(own.account) == {}


async def test_who_is_not_in_charge_finds_no_way(page: Page, own: Stage) -> None:
    customer = await own.account.post("/customers", PERSON)
    await own.admit(["all_writer"])
    await sign_in(page, own)
    await page.goto(f"/customers/{customer['id']}")
    await expect(page.get_by_role("link", name="Erase", exact=True)).to_have_count(0)
    await page.goto(f"/customers/{customer['id']}/erasure")
    await expect(page.get_by_text("Only a super admin can erase a customer.")).to_be_visible()
