"""Lists are narrowed, sorted, given columns, saved and downloaded, each in one way."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from playwright.async_api import Page, expect

from farthing.web.dashboard.lists import subscription_list
from farthing.web.rendering.words.wording import money
from tests.invoices.desk import Desk, fixed
from tests.web.browsing import sign_in
from tests.web.stage import Stage
from tests.web.visitor import Visitor

Invoice = dict[str, Any]


async def _file(page: Page, address: str) -> tuple[list[str], list[list[str]]]:
    answer = await page.request.get(address)
    assert answer.ok, await answer.text()
    head, *rows = csv.reader(io.StringIO(await answer.text()))
    return head, rows


async def _invoices(stage: Stage) -> list[Invoice]:
    found = await stage.account.post("/invoices/search", {"limit": 1000}, expect=200)
    return [invoice for invoice in found["items"] if invoice["invoice_status"] != "SKIPPED"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("column", ["total", "unpaid"])
async def test_amounts_of_two_currencies_are_never_sorted_into_one_another(
    looking: Page, column: str, order: str
) -> None:
    columns = "number,currency,total,unpaid"
    head, rows = await _file(
        looking, f"/invoices/export.csv?standing=unpaid&sort={column}&order={order}&columns={columns}"
    )
    codes = [row[head.index("Currency")] for row in rows]
    assert set(codes) == {"eur", "usd"}
    assert codes == sorted(codes)
    place = head.index(column.capitalize())
    for code in ("eur", "usd"):
        amounts = [Decimal(row[place]) for row in rows if row[head.index("Currency")] == code]
        assert amounts == sorted(amounts, reverse=order == "desc")


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        pytest.param("currency=eur", lambda invoice: invoice["currency"] == "eur", id="currency"),
        pytest.param("standing=draft", lambda invoice: invoice["invoice_status"] == "DRAFT", id="state"),
        pytest.param("number=INV-202609", lambda one: str(one["invoice_number"]).startswith("INV-202609"), id="number"),
        pytest.param("customer=halden", lambda invoice: invoice["customer"]["name"] == "Halden Robotics", id="name"),
        pytest.param("type=ONE_OFF", lambda invoice: invoice["invoice_type"] == "ONE_OFF", id="type"),
        pytest.param(
            "total-from=100&total-until=1,000", lambda one: 100 <= Decimal(one["total"]) <= 1000, id="a span of amounts"
        ),
        pytest.param(
            "due-from=2026-10-01&due-until=2026-10-31",
            lambda invoice: "2026-10-01" <= str(invoice.get("due_date"))[:10] <= "2026-10-31",
            id="a span of days, the last one included",
        ),
        pytest.param(
            "payment=SUCCEEDED&currency=usd",
            lambda one: one["payment_status"] == "SUCCEEDED" and one["currency"] == "usd",
            id="two at once",
        ),
    ],
)
async def test_invoices_are_narrowed_by(
    looking: Page, stage: Stage, query: str, holds: Callable[[Invoice], bool]
) -> None:
    names = {customer["id"]: customer for customer in stage.customers}
    expected = [
        {**invoice, "customer": names.get(invoice["customer_id"], {"name": ""})} for invoice in await _invoices(stage)
    ]
    numbers = sorted(invoice.get("invoice_number") or "Draft" for invoice in expected if holds(invoice))
    assert numbers
    _, rows = await _file(looking, f"/invoices/export.csv?{query}")
    assert sorted(row[0] for row in rows) == numbers


async def test_a_file_holds_the_columns_and_the_order_of_the_page(looking: Page) -> None:
    await looking.goto("/invoices?standing=paid")
    await looking.get_by_text("Columns", exact=True).click()
    await looking.get_by_label("Subtotal", exact=True).check()
    await looking.get_by_label("Issued", exact=True).uncheck()
    await looking.get_by_role("button", name="Show").click()
    await looking.get_by_role("link", name="Total", exact=True).click()
    heads = [head.strip(" ↓↑") for head in await looking.locator("thead th").all_inner_texts()]
    assert "Subtotal" in heads
    assert "Issued" not in heads
    address = await looking.get_by_role("link", name="Download as CSV").get_attribute("href")
    head, rows = await _file(looking, address or "")
    assert head == heads
    shown = await looking.locator("tbody th").all_inner_texts()
    assert [row[0] for row in rows][: len(shown)] == shown
    assert (await looking.locator("thead th[aria-sort]").inner_text()).startswith("Total")


async def test_heads_sort_by_keyboard_and_say_which_way(looking: Page) -> None:
    await looking.goto("/customers")
    for direction in ("ascending", "descending", "ascending"):
        await looking.get_by_role("columnheader", name="Name").get_by_role("link").press("Enter")
        await expect(looking.locator("thead th[aria-sort]")).to_have_attribute("aria-sort", direction)
    names = await looking.locator("tbody th a").all_inner_texts()
    assert names == sorted(names, key=str.lower)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("/invoices?total-from=much", "Total from: 'much' is not a decimal number", id="an amount"),
        pytest.param("/invoices?due-until=2026-02-30", "Due until: '2026-02-30' is no day", id="a day"),
        pytest.param("/invoices?standing=lost", "State: 'lost' is none of the choices", id="a choice"),
        pytest.param("/subscriptions?started-from=x", "Since from: 'x' is no day", id="another list"),
        pytest.param("/customers?created-until=9999-12-31", "is no day", id="beyond all days"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_named(looking: Page, address: str, said: str) -> None:
    await looking.goto(address)
    await expect(looking.get_by_role("alert")).to_contain_text(said)
    path, _, query = address.partition("?")
    assert (await looking.request.get(f"{path}/export.csv?{query}")).status == 400


async def test_a_view_is_saved_opened_replaced_and_deleted_by_its_owner_alone(page: Page, own: Stage) -> None:
    await own.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    await sign_in(page, own)
    await page.goto("/invoices?standing=overdue&sort=total&order=desc&columns=number,total,currency")
    await page.get_by_text("Save this view").click()
    await page.get_by_label("Name of the view").fill("Late <b>first</b>")
    await page.get_by_role("button", name="Save").press("Enter")
    views = page.get_by_role("list", name="Saved views")
    await page.goto("/invoices")
    await views.get_by_role("link", name="Late <b>first</b>").click()
    await expect(page).to_have_url(re.compile("standing=overdue"))
    await expect(views.get_by_role("link")).to_have_attribute("aria-current", "true")
    await page.goto("/invoices?standing=paid")
    await page.get_by_text("Save this view").click()
    await page.get_by_label("Name of the view").fill("Late <b>first</b>")
    await page.get_by_role("button", name="Save").click()
    await expect(views.get_by_role("link")).to_have_count(1)
    await expect(page).to_have_url(re.compile("standing=paid"))
    await page.goto("/customers")
    await expect(views).to_have_count(0)
    await page.goto("/invoices")
    await page.get_by_role("button", name="Delete the view").click()
    await expect(page.get_by_text("The view is deleted.")).to_be_visible()
    await expect(views).to_have_count(0)


async def test_who_owes_is_listed_though_archived(page: Page, own: Stage) -> None:
    customer = await own.account.post("/customers", {"external_id": "gone", "name": "Gone but Owing"})
    amounts = dict.fromkeys(("amount_due", "subtotal", "total"), "70")
    line = {"display_name": "Fee", "amount": "70", "quantity": "1"}
    await own.account.post(
        "/invoices", {"customer_id": customer["id"], "currency": "usd", **amounts, "line_items": [line]}
    )
    await own.account.delete(f"/customers/{customer['id']}")
    await sign_in(page, own)
    await expect(page.get_by_role("region", name="In USD").get_by_text("Gone but Owing")).to_be_visible()
    await page.goto("/customers")
    await expect(page.get_by_role("link", name="Gone but Owing")).to_have_count(0)
    for query in ("sort=owed-usd&order=desc", "owes=usd", "archived=all", "archived=yes"):
        await page.goto(f"/customers?{query}")
        await expect(page.get_by_role("link", name="Gone but Owing")).to_be_visible()
    await expect(page.get_by_text(money("70", "usd")).first).to_be_visible()


async def test_what_is_owed_is_listed_by_the_currencies_of_most_invoices(own: Stage, inside: Visitor) -> None:
    desk = Desk(own.account)
    for code in ("usd", "eur", "usd"):
        await desk.invoice([fixed("10")], currency=code)
    heads = re.findall(r"Unpaid, ([A-Z]{3})", (await inside.http.get("/customers")).text)
    assert list(dict.fromkeys(heads)) == ["USD", "EUR"]


async def test_subscriptions_are_narrowed_and_downloaded(looking: Page, stage: Stage) -> None:
    head, rows = await _file(looking, f"/subscriptions/export.csv?plan={stage.plan['id']}&columns=customer-name,id")
    assert head == ["Customer", "Id"]
    assert [stage.customers[0]["name"], stage.subscription_id] in rows
    _, none = await _file(looking, "/subscriptions/export.csv?state=cancelled")
    assert none == []


async def test_who_may_write_invoices_begins_one_from_the_list_for_the_customer_it_is_narrowed_to(
    own: Stage, inside: Visitor
) -> None:
    customer = await own.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    assert 'href="/invoices/new"' in (await inside.http.get("/invoices")).text
    narrowed = await inside.http.get(f"/invoices?customer={customer['id']}")
    assert f'href="/invoices/new?customer={customer["id"]}"' in narrowed.text


async def test_a_link_narrows_to_a_plan_that_is_not_among_those_to_choose_from(
    own: Stage, inside: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_list, "MOST_PLANS", 1)
    for name in ("First", "Second"):
        plan = await own.account.post("/plans", {"name": name})
    page = await inside.http.get(f"/subscriptions?plan={plan['id']}")
    assert f'<option value="{plan["id"]}" selected>Second</option>' in page.text
    assert "none of the choices" not in page.text
