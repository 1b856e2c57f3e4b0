"""Pages of what has very many parts: they read and show the first of them, and say how many more there are."""

from __future__ import annotations

import pytest

from farthing.web.dashboard.catalogue.plans import pages
from farthing.web.dashboard.receivables.payments import recording, unapplied
from farthing.web.dashboard.subscriptions import history
from tests.invoices.desk import Desk, fixed
from tests.subscriptions.shop import Shop
from tests.subscriptions.shop import fixed as fee
from tests.web.stage import Stage
from tests.web.visitor import Visitor


async def _shown(visitor: Visitor, path: str) -> str:
    page = await visitor.http.get(path)
    assert page.status_code == 200
    return " ".join(page.text.split())


async def test_a_plan_with_many_prices(own: Stage, inside: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_SHOWN", 2)
    plan = await Shop(own.account).plan(*(fee(str(amount)) for amount in range(1, 7)))
    assert "and 2 more prices" in await _shown(inside, "/catalogue")
    shown = await _shown(inside, f"/catalogue/plans/{plan['id']}")
    assert "And 4 more prices" in shown
    assert shown.count('href="/catalogue/prices/') == 2


async def test_a_customer_with_many_open_invoices(own: Stage, inside: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recording, unapplied):
        monkeypatch.setattr(module, "MOST_INVOICES", 2)
    desk = Desk(own.account)
    customer = await desk.customer()
    for _ in range(3):
        await desk.invoice([fixed("50")], customer)
    shown = await _shown(inside, f"/payments/new?customer={customer}&currency=usd")
    assert "3 open invoices in USD" in shown
    assert "150" in shown
    assert shown.count(f'name="{recording.PART}') == 2
    assert "1 more open invoice due later" in shown


async def test_a_subscription_that_was_changed_often(
    own: Stage, inside: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_CHANGES", 1)
    shop = Shop(own.account)
    plan = await shop.plan(fee("10"))
    addons = [await shop.addon(fee("1"), key=f"more{number}") for number in range(3)]
    body = {"customer_id": (await shop.customer())["id"], "plan_id": plan["id"], "currency": "usd"}
    subscription = await own.account.post("/subscriptions", {**body, "billing_period": "MONTHLY"})
    for addon in addons:
        given = {"subscription_id": subscription["id"], "addon_id": addon["id"]}
        await own.account.post("/subscriptions/addon", given, expect=200)
    shown = await _shown(inside, f"/subscriptions/{subscription['id']}")
    assert shown.count("Addon more") == 1
