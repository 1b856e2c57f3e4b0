"""Numbers on pages are the numbers of the API."""

from __future__ import annotations

import re
from decimal import Decimal

from playwright.async_api import Page, expect

from farthing.web.dashboard.overview.pages import TOP_DEBTORS
from farthing.web.rendering.words.wording import money
from tests.web.stage import Stage


async def test_a_customer_page_shows_the_invoice_summary(looking: Page, stage: Stage) -> None:
    for customer in stage.customers[:4]:
        summary = await stage.account.get(f"/customers/{customer['id']}/invoices/summary")
        aging = await stage.account.get(f"/customers/{customer['id']}/invoices/aging")
        await looking.goto(f"/customers/{customer['id']}")
        shown = await looking.get_by_role("region", name=f"What {customer['name']} owes").inner_text()
        for row in summary["summaries"]:
            for figure in ("total_unpaid_amount", "total_overdue_amount", "total_revenue_amount"):
                assert money(row[figure], row["currency"]) in shown, figure
            if row["unpaid_invoice_count"]:
                assert money(row["unpaid_usage_charges"], row["currency"]) in shown
                assert money(row["unpaid_fixed_charges"], row["currency"]) in shown
        for item in aging["items"]:
            for bucket in ("current", "days_1_30", "days_31_60", "days_61_90", "days_over_90"):
                if item[bucket] != "0":
                    assert money(item[bucket], item["currency"]) in shown, bucket


async def test_the_overview_adds_up_over_customers(looking: Page, stage: Stage) -> None:
    totals: dict[str, list[Decimal]] = {}
    debts: dict[str, list[tuple[Decimal, str]]] = {}
    for customer in stage.customers:
        summary = await stage.account.get(f"/customers/{customer['id']}/invoices/summary?scope=billed")
        for row in summary["summaries"]:
            unpaid, overdue = Decimal(row["total_unpaid_amount"]), Decimal(row["total_overdue_amount"])
            so_far = totals.setdefault(row["currency"], [Decimal(0), Decimal(0)])
            totals[row["currency"]] = [so_far[0] + unpaid, so_far[1] + overdue]
            if unpaid:
                debts.setdefault(row["currency"], []).append((unpaid, customer["name"]))
    await looking.goto("/")
    for code, (unpaid, overdue) in totals.items():
        section = looking.get_by_role("region", name=f"In {code.upper()}")
        await expect(section.get_by_role("link", name=money(unpaid, code)).first).to_be_visible()
        await expect(section.get_by_role("link", name=money(overdue, code)).first).to_be_visible()
        names = await section.locator("tbody th.name a").all_inner_texts()
        assert names == [name for _, name in sorted(debts[code], reverse=True)][:TOP_DEBTORS]


async def test_who_owes_most_and_why_is_three_clicks_away(looking: Page, stage: Stage) -> None:
    await looking.goto("/")
    await looking.get_by_role("region", name="In USD").locator("tbody th.name a").first.click()
    await looking.get_by_role("region", name="Invoices").locator("tbody th a").first.click()
    await looking.get_by_role("link", name="API calls").click()
    await expect(looking.get_by_text("Where this number came from.")).to_be_visible()
    await expect(looking.get_by_text("Rounded once, this is the amount of the line.")).to_be_visible()
    await looking.get_by_role("link", name="See these events").click()
    await expect(looking.get_by_role("heading", name="Events", exact=True)).to_be_visible()


async def test_an_event_says_what_it_counts_and_leads_to_who_pays_for_it(looking: Page, stage: Stage) -> None:
    await looking.goto("/events/one?id=ev-0-4")
    counted = looking.get_by_role("region", name="What it counts").locator("tbody tr")
    assert (await counted.inner_text()).split() == ["api_calls", "API", "calls", "Growth", "33"]
    await looking.get_by_role("region", name="The event").get_by_role("link", name="cust-000").click()
    await expect(looking.get_by_role("region", name="Invoices")).to_be_visible()
    await looking.go_back()
    await counted.get_by_role("link", name="API calls").click()
    await expect(looking).to_have_url(re.compile("/subscriptions/subs_"))


async def test_an_invoice_page_shows_the_invoice(looking: Page, stage: Stage) -> None:
    for given in stage.invoices[:6]:
        invoice = await stage.account.get(f"/invoices/{given['id']}")
        await looking.goto(f"/invoices/{invoice['id']}")
        shown = await looking.locator("main").inner_text()
        for figure in ("total", "subtotal", "amount_remaining", "amount_paid"):
            assert money(invoice[figure], invoice["currency"]) in shown, figure
        for line in invoice["line_items"]:
            assert money(line["amount"], invoice["currency"]) in shown
        assert invoice["invoice_number"] in shown


async def test_the_list_of_overdue_invoices_is_what_the_api_calls_overdue(looking: Page, stage: Stage) -> None:
    found = await stage.account.post("/invoices/search", {"limit": 1000, "invoice_status": ["FINALIZED"]}, expect=200)
    now = stage.now.isoformat().replace("+00:00", "Z")
    overdue = {
        item["invoice_number"]
        for item in found["items"]
        if Decimal(item["amount_remaining"]) > 0 and item.get("due_date", "9") < now
    }
    shown: set[str] = set()
    await looking.goto("/invoices?standing=overdue")
    while True:
        shown |= set(await looking.locator("tbody th a").all_inner_texts())
        following = looking.get_by_role("link", name="Next")
        if not await following.count():
            break
        await following.click()
    assert shown == overdue


async def test_customers_are_found_sorted_and_paged(looking: Page, stage: Stage) -> None:
    await looking.goto("/customers?sort=name&order=asc")
    assert await looking.locator("tbody th a").all_inner_texts() == sorted(
        (customer["name"] for customer in stage.customers), key=str.lower
    )
    await looking.get_by_label("Name, email or id").fill("freight")
    await looking.get_by_role("button", name="Show").click()
    assert await looking.locator("tbody th a").all_inner_texts() == ["Ostrava Freight"]
    await looking.goto("/events?from=2026-11-18&until=2026-11-19")
    times = await looking.locator("#tail tbody td:first-child").all_inner_texts()
    assert times
    assert all(time.startswith("18 Nov") for time in times)
    await looking.goto("/invoices?number=INV-202606")
    numbers = await looking.locator("tbody th a").all_inner_texts()
    assert numbers
    assert all(number.startswith("INV-202606-") for number in numbers)
    await looking.goto("/customers?q=%25")
    await expect(looking.get_by_text("No customer matches")).to_be_visible()
    await looking.goto("/customers?sort=owed-eur&order=desc")
    assert (await looking.locator("tbody th a").all_inner_texts())[0] == "Tern Airways"


async def test_a_hierarchy_leads_both_ways(looking: Page, stage: Stage) -> None:
    await looking.goto(f"/customers/{stage.customers[0]['id']}")
    family = looking.get_by_role("region", name="Hierarchy")
    assert await family.locator("tbody th").all_inner_texts() == ["Quill Publishing", "Umber Studio"]
    await family.get_by_role("link", name="Umber Studio").click()
    assert await family.locator("tbody th").all_inner_texts() == ["Brightwater Analytics"]


async def test_the_portal_shows_what_the_customer_is_asked_to_pay(looking: Page, stage: Stage) -> None:
    customer = stage.customers[0]
    token = (await stage.account.get(f"/customers/portal/{customer['external_id']}"))["token"]
    summary = await stage.account.get(f"/customers/{customer['id']}/invoices/summary?scope=billed")
    await looking.goto(f"/portal?token={token}&lang=en")
    shown = await looking.locator("main").inner_text()
    [row] = summary["summaries"]
    assert money(row["total_unpaid_amount"], row["currency"]) in shown
    assert money(row["total_overdue_amount"], row["currency"]) in shown
    assert all(other["name"] not in shown for other in stage.customers[1:])
    assert "Draft" not in shown
