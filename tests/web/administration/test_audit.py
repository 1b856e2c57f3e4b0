"""An auditor finds who changed a due date, when, from where, and what it was before, in three clicks."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.web.administration.test_activity import moved_invoice
from tests.web.browsing import sign_in
from tests.web.stage import Stage


async def test_a_due_date_that_moved_is_found_in_three_clicks_from_the_start_page(page: Page, own: Stage) -> None:
    invoice = await moved_invoice(own.account)
    await sign_in(page, own)
    await page.goto("/")
    await page.get_by_role("link", name="Invoices", exact=True).first.click()
    await page.get_by_role("link", name=invoice["invoice_number"]).first.click()
    await page.get_by_role("link", name="Due date changed").first.click()
    facts = page.get_by_role("region", name="Who, when, from where")
    for fact in ("API key", "127.0.0.1", "Through the API"):
        await expect(facts).to_contain_text(fact)
    # the key's owner, by name; which of those who are called so is in the link
    await expect(facts.get_by_role("link", name="Ada Fairweather")).to_have_attribute("title", own.account.user_id)
    changes = page.get_by_role("region", name="What changed").first
    await expect(changes).to_contain_text("3 Mar 2099, 00:00")
    await expect(changes).to_contain_text("17 Mar 2099, 00:00")


async def test_it_is_found_by_who_it_was_for_too(page: Page, own: Stage) -> None:
    await moved_invoice(own.account)
    await sign_in(page, own)
    await page.goto("/activity")
    await page.get_by_label("Customer", exact=True).fill("acme")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("link", name="Due date changed")).to_be_visible()


@pytest.mark.parametrize(
    ("field", "typed", "outcome"),
    [
        pytest.param("customer_id", "Acme", "Due date changed", id="by a customer's name"),
        pytest.param("entity_id", "{number}", "Due date changed", id="by a number"),
        pytest.param("actor_id", "{email}", "Due date changed", id="by who did it"),
        pytest.param("customer_id", "Nobody Known", "Customer: nothing is called", id="nobody is called so"),
        pytest.param("customer_id", "Twin", "Customer: 2 are called", id="two are called so"),
    ],
)
async def test_filters_take_names(page: Page, own: Stage, field: str, typed: str, outcome: str) -> None:
    invoice = await moved_invoice(own.account)
    for external_id in ("one", "two"):
        await own.account.post("/customers", {"external_id": external_id, "name": "Twin"})
    await sign_in(page, own)
    value = typed.format(number=invoice["invoice_number"], email=own.email)
    await page.goto("/activity")
    await page.locator(f"input[name={field}]").fill(value)
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text(outcome).first).to_be_visible()
