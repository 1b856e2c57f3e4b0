"""The first page says what the analytics say, over the days that are chosen."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from playwright.async_api import Page, expect

from farthing.web.dashboard.overview.named_ranges import named_days
from farthing.web.dashboard.overview.pages import MOST_CURRENCIES
from farthing.web.rendering.words.wording import money
from tests.invoices.desk import Desk, fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage
from tests.web.visitor import Visitor


@pytest.mark.parametrize("range_name", ["12_months", "last_month", "this_year"])
async def test_earnings_are_what_the_api_answers(looking: Page, stage: Stage, range_name: str) -> None:
    first, last = named_days(range_name, stage.now.date())
    await looking.goto(f"/?range={range_name}")
    for key in ("net_billing_issued", "collected", "mrr"):
        body = {"range": f"{first}..{last + timedelta(days=1)}", "shape": "breakdown", "dimensions": ["currency"]}
        answer = await stage.account.post(
            f"/analytics/reports/{key}/query", {**body, "compare": "previous_period"}, expect=200
        )
        for code, value, *_ in answer["rows"]:
            section = looking.get_by_role("region", name=f"In {code.upper()}")
            if Decimal(value):
                await expect(section.get_by_text(money(value, code)).first).to_be_visible()


async def test_the_days_are_chosen_by_keyboard(looking: Page) -> None:
    await looking.goto("/")
    await looking.get_by_role("combobox", name="Days").select_option("last_month")
    await looking.get_by_role("combobox", name="Days").press("Tab")
    await looking.keyboard.press("Enter")
    await expect(looking.get_by_text("Revenue of 1 Oct 2026 to 31 Oct 2026")).to_be_visible()


async def test_debtors_have_reasons_and_the_month_has_invoices_to_come(looking: Page) -> None:
    await looking.goto("/")
    debtors = looking.get_by_role("region", name="In USD").locator("tbody th.name")
    await expect(debtors.filter(has_text="overdue, the oldest by").first).to_be_visible()
    await expect(
        looking.get_by_role("heading", name="API calls").or_(looking.get_by_text("in 30 days")).first
    ).to_be_visible()


async def test_a_new_company_is_told_where_to_begin(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await expect(page.get_by_text("Nothing has been invoiced yet")).to_be_visible()


async def test_the_way_to_the_first_invoice_is_shown_until_it_is_issued(own: Stage) -> None:
    visitor = await Visitor(own.account).sign_in(own)
    desk = Desk(own.account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    assert "To your first invoice" in (await visitor.http.get("/")).text
    await desk.account.post(f"/invoices/{draft['id']}/finalize", expect=200)
    overview = await visitor.http.get("/")
    assert overview.status_code == 200
    assert "To your first invoice" not in overview.text
    await visitor.http.aclose()


async def test_more_currencies_than_a_page_holds_are_a_line_each(page: Page, own: Stage) -> None:
    customer = await own.account.post("/customers", {"external_id": "everywhere", "name": "Everywhere"})
    for code in ("usd", "eur", "gbp", "jpy"):
        amounts = dict.fromkeys(("amount_due", "subtotal", "total"), "100")
        line = {"display_name": "Advice", "amount": "100", "quantity": "1"}
        await own.account.post(
            "/invoices", {"customer_id": customer["id"], "currency": code, **amounts, "line_items": [line]}
        )
    await sign_in(page, own)
    await page.goto("/")
    await expect(page.locator("section.currency")).to_have_count(MOST_CURRENCIES)
    others = page.get_by_role("region", name="Other currencies")
    await expect(others.get_by_role("link")).to_have_count(1)
    await expect(others).to_contain_text("100")
    name = await others.get_by_role("link").inner_text()
    await others.get_by_role("link").click()
    await expect(page.get_by_role("region", name=name)).to_be_visible()
    await expect(page.locator("section.currency")).to_have_count(1)
    await expect(others.get_by_role("link")).to_have_count(MOST_CURRENCIES)
