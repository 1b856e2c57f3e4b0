"""Whatever a person remembers of a thing leads to it; nobody finds what they may not read."""

from __future__ import annotations

from decimal import Decimal

import pytest
from playwright.async_api import Page, expect

from farthing.web.dashboard.finding.typed import TypedAmount, TypedText
from farthing.web.rendering.words.wording import money
from tests.account import Account
from tests.web.browsing import sign_in
from tests.web.stage import Stage
from tests.web.visitor import Visitor


@pytest.mark.parametrize(
    ("typed", "amount"),
    [
        pytest.param("1,234.50", TypedAmount(Decimal("1234.50"), None), id="grouped"),
        pytest.param("$49", TypedAmount(Decimal(49), "usd"), id="a sign before it"),
        pytest.param("12 €", TypedAmount(Decimal(12), "eur"), id="a sign behind it"),
        pytest.param("12.5 eur", TypedAmount(Decimal("12.5"), "eur"), id="a code behind it"),
        pytest.param("USD 7", TypedAmount(Decimal(7), "usd"), id="a code before it"),
        pytest.param("1,23", None, id="a comma that groups nothing"),
        pytest.param("CA$5", TypedAmount(Decimal(5), "cad"), id="a sign of several characters"),
        pytest.param("49 euro", None, id="no code"),
        pytest.param("INV-49", None, id="a number of an invoice"),
        pytest.param("1e5", None, id="no plain number"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_amounts_are_understood_as_people_write_them(typed: str, amount: TypedAmount | None) -> None:
    assert TypedText.of(typed).amount == amount


@pytest.mark.parametrize(
    ("typed", "kind", "hit"),
    [
        pytest.param("Halden", "Customers", "Halden Robotics", id="the beginning of a name"),
        pytest.param("robot", "Customers", "Halden Robotics", id="the beginning of its second word"),
        pytest.param("freight ostr", "Customers", "Ostrava Freight", id="two words in any order"),
        pytest.param("KESTREL MOOR", "Customers", "Kestrel & Moor", id="in capitals, without the sign between"),
        pytest.param("billing@tern.example", "Customers", "Tern Airways", id="an address"),
        pytest.param("cust-004", "Customers", "Northlight Clinics", id="an external id"),
        pytest.param("cust-000", "Subscriptions", "Brightwater Analytics", id="the subscription of who was found"),
        pytest.param("INV-202611", "Invoices", "INV-202611-00001", id="the beginning of a number"),
        pytest.param("inv-202611-00005", "Invoices", "INV-202611-00005", id="a number in small letters"),
    ],
)
async def test_a_thing_is_found_by(looking: Page, stage: Stage, typed: str, kind: str, hit: str) -> None:
    await looking.goto("/search")
    await looking.get_by_label("What you remember of it").fill(typed)
    await looking.get_by_label("What you remember of it").press("Enter")
    await expect(looking.get_by_role("region", name=kind).get_by_role("link").filter(has_text=hit)).to_be_visible()


async def test_amounts_and_ids_lead_to_invoices_and_payments(looking: Page, stage: Stage) -> None:
    invoice = next(candidate for candidate in stage.invoices if candidate["id"] in stage.touched)
    for typed in (invoice["id"], invoice["total"], money(invoice["total"], invoice["currency"])):
        await looking.goto(f"/search?q={typed}")
        hits = looking.get_by_role("region", name="Invoices").get_by_role("link")
        await expect(hits.filter(has_text=invoice["invoice_number"])).to_be_visible()
    listed = (await stage.account.get("/payments", destination_id=invoice["id"]))["items"]
    await looking.goto(f"/search?q={listed[0]['id']}")
    await looking.get_by_role("region", name="Payments").get_by_role("link").click()
    await expect(looking.get_by_role("heading", name=invoice["invoice_number"])).to_be_visible()


@pytest.mark.parametrize("typed", ["%", "_", "'; --", "<script>", "\\", "zzzz nobody", "ﷺ"])
async def test_what_nothing_is_called_finds_nothing(looking: Page, typed: str) -> None:
    await looking.goto("/search")
    await looking.get_by_label("What you remember of it").fill(typed)
    await looking.get_by_label("What you remember of it").press("Enter")
    await expect(looking.get_by_text("Nothing is known as")).to_be_visible()


async def test_the_keyboard_alone_leads_from_any_page_to_a_customer(looking: Page) -> None:
    await looking.goto("/subscriptions")
    await looking.keyboard.press("/")
    box = looking.get_by_role("dialog", name="Search")
    await expect(box).to_be_visible()
    await looking.keyboard.type("halden")
    await expect(box.get_by_role("link", name="Halden Robotics")).to_be_visible()
    await looking.keyboard.press("Escape")
    await expect(box).to_be_hidden()
    await looking.keyboard.press("Control+k")
    await expect(box).to_be_visible()
    await looking.keyboard.press("ArrowDown")
    await looking.keyboard.press("Enter")
    await expect(looking.get_by_role("heading", name="Halden Robotics", exact=True)).to_be_visible()


async def test_a_slash_that_is_typed_into_a_field_stays_there(looking: Page) -> None:
    await looking.goto("/invoices")
    await looking.get_by_label("Number begins with").press("/")
    await expect(looking.get_by_label("Number begins with")).to_have_value("/")
    await expect(looking.get_by_role("dialog", name="Search")).to_have_count(0)


async def test_a_role_finds_what_it_may_read_alone(page: Page, own: Stage) -> None:
    await own.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    await own.admit(["event_ingestor"])
    await page.goto("/sign-in")
    await page.get_by_label("E-mail").fill(own.email)
    await page.get_by_label("Password").fill("a password of the stage")
    await page.get_by_role("button", name="Sign in").click()
    await page.goto("/search?q=acme")
    await expect(page.get_by_text("Nothing is known as “acme”.")).to_be_visible()


async def test_words_follow_every_change_of_a_customer(page: Page, own: Stage, stranger: Account) -> None:
    customer = await own.account.post("/customers", {"external_id": "first-id", "name": "Early Bird"})
    await stranger.post("/customers", {"external_id": "other", "name": "Early Stranger"})
    await own.account.put(f"/customers/{customer['id']}", {"name": "Late Owl", "email": "owl@night.example"})
    await sign_in(page, own)
    for typed, is_found in (("early", False), ("late ow", True), ("night", True), ("first", True)):
        await page.goto(f"/search?q={typed}")
        await expect(page.get_by_role("link", name="Late Owl")).to_have_count(int(is_found))
        assert "Early Stranger" not in await page.locator("main").inner_text()


async def test_an_external_id_that_looks_like_one_of_ours_is_found(own: Stage, inside: Visitor) -> None:
    given = "user_01JD3Y7N2W8Q4R5T6V7X8Z9A0B"
    customer = await own.account.post("/customers", {"external_id": given, "name": "Acme"})
    for typed in (given, customer["id"]):
        found = await inside.http.get("/search", params={"q": typed})
        assert f'href="/customers/{customer["id"]}"' in found.text


async def test_a_key_leads_to_what_has_it_now_and_to_its_own_page(own: Stage, inside: Visitor) -> None:
    former = await own.account.post("/plans", {"name": "Former", "lookup_key": "growth"})
    await own.account.delete(f"/plans/{former['id']}", expect=200)
    plan = await own.account.post("/plans", {"name": "Growth", "lookup_key": "growth"})
    feature = await own.account.post("/features", {"name": "Calls", "type": "boolean", "lookup_key": "calls"})
    assert f'href="/catalogue/plans/{plan["id"]}"' in (await inside.http.get("/search?q=growth")).text
    assert f'href="/catalogue/features/{feature["id"]}"' in (await inside.http.get("/search?q=calls")).text
