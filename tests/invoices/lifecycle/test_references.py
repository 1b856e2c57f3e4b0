"""Ids in the lines of an invoice that somebody writes: what they name must be there, and fit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.account import Account
from tests.invoices.desk import Desk, fixed


@pytest.mark.parametrize(
    "field", ["price_id", "meter_id", "plan_id", "entity_id", "subscription_id", "subscription_line_item_id"]
)
async def test_what_is_not_there_is_named(account: Account, field: str) -> None:
    answer = await Desk(account).invoice([fixed("1"), fixed("2", **{field: "nothing"})], expect=400)
    assert "has the id nothing" in answer["details"][f"line_items[1].{field}"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"currency": "eur"}, "is a price in usd, and the invoice is in eur"),
        ({"lines": {"entity_id": "plan_other"}}, "not of plan_other"),
    ],
)
async def test_a_price_must_fit(account: Account, more: dict[str, Any], reason: str) -> None:
    desk = Desk(account)
    line = fixed("5", price_id=await desk.price(), **more.pop("lines", {}))
    answer = await desk.invoice([line], expect=400, **more)
    assert reason in answer["details"]["line_items[0].price_id"]


async def test_a_price_of_another_tenant_is_not_there(account: Account, stranger: Account) -> None:
    price = await Desk(stranger).price()
    answer = await Desk(account).invoice([fixed("5", price_id=price)], expect=400)
    assert answer["details"] == {"line_items[0].price_id": f"no price has the id {price}"}


async def test_lines_of_a_draft_are_checked_too(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("5")], invoice_status="DRAFT")
    body = {"line_items": [fixed("5", price_id="nothing")]}
    answer = await account.post(f"/invoices/{draft['id']}/compute", body, expect=400)
    assert "line_items[0].price_id" in answer["details"]


@pytest.mark.parametrize("field", ["line_item_id", "subscription_line_item_id", "coupon_association_id"])
async def test_what_a_coupon_names_and_is_not_there_is_named(account: Account, field: str) -> None:
    desk = Desk(account)
    coupon = {"coupon_id": await desk.coupon("25%"), "line_item_id": await desk.price(), field: "nothing"}
    answer = await desk.invoice([fixed("5")], line_item_coupons=[coupon], expect=400)
    assert answer["details"] == {f"line_item_coupons[0].{field}": "nothing has the id nothing"}
