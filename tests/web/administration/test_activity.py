"""What an auditor sees: on the page of the thing itself, on that of all activity, and in the file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.account import Account
from tests.web.administration.test_signing_in import invited
from tests.web.everywhere.typing.test_attacks import EVIL
from tests.web.stage import PASSWORD, Stage
from tests.web.visitor import Visitor

LINE = {"display_name": "Work", "amount": "100", "quantity": "1", "price_type": "FIXED"}


@pytest.fixture
async def inside(own: Stage) -> AsyncIterator[Visitor]:
    visitor = await Visitor(own.account).sign_in(own)
    yield visitor
    await visitor.http.aclose()


async def moved_invoice(account: Account) -> dict[str, Any]:
    """An invoice whose due date was moved."""
    customer = await account.post("/customers", {"external_id": "acme", "name": "Acme"})
    body = {"customer_id": customer["id"], "currency": "usd", "subtotal": "100", "total": "100", "amount_due": "100"}
    body |= {"line_items": [LINE], "due_date": "2099-03-03T00:00:00Z"}
    invoice: dict[str, Any] = await account.post("/invoices", body)
    await account.put(f"/invoices/{invoice['id']}", {"due_date": "2099-03-17T00:00:00Z"})
    return invoice


async def test_an_invoice_says_who_moved_its_due_date_from_when_to_when(inside: Visitor, own: Stage) -> None:
    invoice = await moved_invoice(own.account)
    page = (await inside.http.get(f"/invoices/{invoice['id']}")).text
    timeline = re.sub(r"<[^>]+>|\s+", " ", page[page.index('id="activity"') :])
    timeline = re.sub(r"\s+", " ", timeline)
    assert "Due date changed from 3 Mar 2099, 00:00 to 17 Mar 2099, 00:00 by test through the API," in timeline
    assert "Finalized" in timeline
    # one click to the entry, which says from where, by which request and what each field was
    entry = re.search(r"/activity/sys_event_[0-9A-Z]+", page)
    assert entry is not None
    shown = (await inside.http.get(entry[0])).text
    for word in ("127.0.0.1", "python-httpx", own.account.user_id, "Before", "After", "3 Mar 2099", "17 Mar 2099"):
        assert word in shown


@pytest.mark.parametrize("where", ["customer", "subscription", "settings"])
async def test_the_pages_of_other_things_show_their_timeline(inside: Visitor, own: Stage, where: str) -> None:
    account = own.account
    invoice = await moved_invoice(account)
    if where == "customer":
        page = (await inside.http.get(f"/customers/{invoice['customer_id']}")).text
        assert "Due date changed" in page
    elif where == "settings":
        await account.put("/settings/subscription_config", {"value": {"grace_period_days": 9}})
        page = (await inside.http.get("/settings/")).text
        assert "subscription_config</a>" in page
    else:
        plan = await account.post("/plans", {"name": "Basic", "lookup_key": "basic"})
        price = {"entity_type": "PLAN", "entity_id": plan["id"], "currency": "usd", "type": "FIXED", "amount": "5"}
        price |= {"billing_model": "FLAT_FEE", "billing_period": "MONTHLY", "invoice_cadence": "ARREAR"}
        await account.post("/prices", {**price, "price_unit_type": "FIAT"})
        body = {"customer_id": invoice["customer_id"], "plan_id": plan["id"], "currency": "usd"}
        body |= {"billing_period": "MONTHLY", "start_date": "2099-01-01T00:00:00Z", "billing_cycle": "anniversary"}
        subscription = await account.post("/subscriptions", body)
        page = (await inside.http.get(f"/subscriptions/{subscription['id']}")).text
        assert "Created" in page[page.index('id="activity"') :]
    assert 'id="activity"' in page


async def test_what_is_done_in_the_dashboard_is_the_persons_own_doing(inside: Visitor, own: Stage) -> None:
    form = {"form_token": await inside.token(), "grace_period_days": "9", "auto_cancellation_enabled": "no"}
    assert (await inside.post("/settings/subscription_config", form)).status_code == 303
    asked = {"entity_type": "setting", "expand": ["state"]}
    activity = (await own.account.post("/activity", asked, 200))["items"][0]
    assert activity["actor"] == {"id": own.account.user_id, "label": own.email, "type": "user"}
    assert (activity["source"], activity["action"]) == ("dashboard", "settings.updated")
    assert activity["state"]["value"]["grace_period_days"] == 9


async def test_a_new_password_is_recorded_without_it(inside: Visitor, own: Stage) -> None:
    asked = {"entity_id": own.account.user_id, "expand": ["state"]}
    activity = (await own.account.post("/activity", asked, 200))["items"][0]
    assert {"field": "password"} in activity["changes"]
    assert "argon2" not in str(activity)


async def test_the_page_of_all_activity_narrows_pages_and_refuses_nonsense(inside: Visitor, own: Stage) -> None:
    for number in range(60):
        await own.account.post("/customers", {"external_id": f"c{number}", "name": f"Customer {number}"})
    first = (await inside.http.get("/activity/?entity_type=customer")).text
    assert "Customer 59" in first
    assert "Customer 9<" not in first
    older = re.search(r'href="(\?[^"]*cursor=[^"]*)"', first)
    assert older is not None
    second = (await inside.http.get("/activity/" + older[1].replace("&amp;", "&"))).text
    assert "Customer 9<" in second
    assert "Nothing like this happened" in (await inside.http.get("/activity/?action=price.updated")).text
    for nonsense in ("from=tomorrow", "action=eaten", "from=2026-03-02&to=2026-03-01", "cursor=x", "to=9999-12-31"):
        answer = await inside.http.get(f"/activity/?{nonsense}")
        assert answer.status_code == 200
        assert 'class="notice refused"' in answer.text, nonsense


async def test_the_file_holds_what_was_asked_for_and_no_formula(inside: Visitor, own: Stage) -> None:
    await own.account.post("/customers", {"external_id": "sum", "name": "=SUM(A1)"})
    await own.account.post("/customers", {"external_id": "evil", "name": EVIL})
    await own.account.post("/groups", {"name": "A", "entity_type": "feature", "lookup_key": "a"})
    answer = await inside.http.get("/activity/export.csv?entity_type=customer")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["entity"] for row in rows] == [EVIL, "'=SUM(A1)"]
    assert {row["actor_type"] for row in rows} == {"api_key"}
    assert "<script>window" not in (await inside.http.get("/activity/")).text


async def test_who_may_not_read_settings_sees_no_activity(account: Account) -> None:
    stage = await Stage(account).admit(roles=["event_reader"])
    visitor = await Visitor(account).sign_in(stage)
    assert (await visitor.http.get("/activity/")).status_code == 403
    assert (await visitor.http.get("/activity/export.csv")).status_code == 403
    await visitor.http.aclose()


async def test_what_has_no_number_yet_is_named_by_whose_it_is_and_for_when(inside: Visitor, own: Stage) -> None:
    account = own.account
    customer = await account.post("/customers", {"external_id": "acme", "name": "Acme"})
    june = {"period_start": "2099-06-01T00:00:00Z", "period_end": "2099-07-01T00:00:00Z"}
    body = {"customer_id": customer["id"], "currency": "usd", "subtotal": "100", "total": "100", "amount_due": "100"}
    body |= {"line_items": [LINE], "invoice_status": "DRAFT"}
    month = await account.post("/invoices", {**body, **june})
    await account.post("/invoices", {**body, **june, "period_end": "2099-06-16T00:00:00Z"})
    page = (await inside.http.get("/activity/")).text
    assert f'<a href="/invoices/{month["id"]}">draft of Acme for June 2099</a>' in page
    assert ">draft of Acme for 1 to 15 Jun 2099</a>" in page
    assert not re.search(r">inv_[0-9A-Z]{26}<", page)
    await account.post(f"/invoices/{month['id']}/finalize", {}, expect=200)
    number = (await account.get(f"/invoices/{month['id']}"))["invoice_number"]
    page = (await inside.http.get("/activity/")).text
    assert f'<a href="/invoices/{month["id"]}">{number}</a>' in page
    assert "draft of Acme for June 2099" not in page
    # an entry names the customer and the person behind a key, too
    entry = re.search(r"/activity/sys_event_[0-9A-Z]+", page)
    assert entry is not None
    shown = (await inside.http.get(entry[0])).text
    assert f'title="{customer["id"]}">Acme</a>' in shown
    assert f'title="{account.user_id}">Ada Fairweather</a>' in shown


async def test_pages_and_the_file_name_no_keys_of_others_to_a_reader(inside: Visitor, own: Stage) -> None:
    name = "the key of the ledger"
    key = (await own.account.post("/secrets/api/keys", {"name": name, "type": "private_key"}))["api_key"]
    async with own.account.client(headers={"x-api-key": key}) as http:
        customer = (await http.post("/customers", json={"external_id": "acme", "name": "Acme"})).json()
    reader = await invited(own, password=PASSWORD)
    reading = await Visitor(own.account).sign_in(replace(own, email=reader.email or ""))
    entries = re.findall(r"/activity/sys_event_[0-9A-Z]+", (await inside.http.get("/activity")).text)
    addresses = ["/activity", "/activity/export.csv", f"/customers/{customer['id']}", *dict.fromkeys(entries)]
    for visitor, is_named in ((inside, True), (reading, False)):
        texts = [(await visitor.http.get(address)).text for address in addresses]
        assert [name in text for text in texts[:3]] == [is_named] * 3
        assert any(name in text for text in texts[3:]) == is_named
        # nobody finds out by asking for a name either
        asked = (await visitor.http.get("/activity", params={"actor_id": name})).text
        assert ("nothing is called" in asked) != is_named
    assert "an API key of Ada Fairweather" in texts[0]
    await reading.http.aclose()
