"""Seats go along when the plan changes, and what they cost is settled."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.counter import Body, do, open_items, opened, read
from tests.billing.office import Office
from tests.subscriptions.shop import fixed

REPLACING = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
PRORATED = {"proration_behavior": "create_prorations"}
V1, V2 = "change", "change/v2"


async def five_seats(office: Office) -> tuple[Body, Body]:
    """Five seats of 20 since the first of April, on the 16th; and a plan with a fee of 50."""
    await office.on("2026-04-01")
    plan, target = await office.plan(fixed("20")), await office.plan(fixed("50"), name="Larger")
    seats = [{"price_id": plan["prices"][0]["id"], "quantity": "5"}]
    made = await opened(office, plan, override_line_items=seats)
    await office.on("2026-04-16")
    return made, target


def changing(way: str, target: Body, **more: Any) -> dict[str, Any]:
    return {"target_plan_id": target["id"], **PRORATED, **(REPLACING if way == V1 else {}), **more}


async def test_five_seats_become_five_seats_in_place(office: Office) -> None:
    made, target = await five_seats(office)
    preview = await do(office, made, f"{V2}/preview", changing(V2, target))
    done = await do(office, made, f"{V2}/execute", changing(V2, target))
    for answer in (preview, done):
        assert answer["change_type"] == "upgrade"
        assert any("5 carried over to" in warning for warning in answer["warnings"])
    (item,) = await open_items(office, made)
    assert item["quantity"] == "5"
    assert sorted(await office.totals()) == ["100.00", "75.00"]


async def test_five_seats_become_five_seats_of_a_new_subscription(office: Office) -> None:
    made, target = await five_seats(office)
    preview = await do(office, made, f"{V1}/preview", changing(V1, target))
    (line,) = preview["next_invoice_preview"]["line_items"]
    assert "5 carried over to" in line["description"]
    done = await do(office, made, f"{V1}/execute", changing(V1, target))
    assert done["change_type"] == "upgrade"
    assert any("5 carried over to" in warning for warning in done["warnings"])
    # 250 for a whole month, less 50 unused
    assert done["invoice"]["total"] == preview["next_invoice_preview"]["total"] == "200"


@pytest.mark.parametrize("way", [V1, V2])
@pytest.mark.parametrize("named_by", ["price_id", "lookup_key"])
async def test_a_request_says_the_quantity(office: Office, way: str, named_by: str) -> None:
    made, _ = await five_seats(office)
    target = await office.plan(fixed("50", lookup_key="large-seat"), name="Keyed")
    name = {"price_id": target["prices"][0]["id"], "lookup_key": "large-seat"}[named_by]
    body = changing(way, target, line_items=[{named_by: name, "quantity": "2"}])
    done = await do(office, made, f"{way}/execute", body)
    assert done["change_type"] == "lateral"
    subscription = done["new_subscription"] if way == V1 else made
    (item,) = await open_items(office, subscription)
    assert item["quantity"] == "2"


@pytest.mark.parametrize("way", [V1, V2])
@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"quantity": "2"}, "price_id"),
        ({"price_id": "price_x", "lookup_key": "x", "quantity": "2"}, "price_id"),
        ({"price_id": "price_x", "quantity": "0"}, "quantity"),
        ({"price_id": "price_x", "quantity": "-1"}, "quantity"),
        ({"lookup_key": "nobody's", "quantity": "2"}, "line_items[0].lookup_key"),
    ],
)
async def test_a_request_that_names_no_fee_of_the_target_is_refused(
    office: Office, way: str, line: dict[str, str], field: str
) -> None:
    made, target = await five_seats(office)
    before = await read(office, made)
    refused = await do(office, made, f"{way}/execute", changing(way, target, line_items=[line]), 400)
    assert any(field in name for name in refused["details"])
    assert await read(office, made) == before


@pytest.mark.parametrize("way", [V1, V2])
async def test_a_change_for_later_keeps_what_was_requested(office: Office, way: str) -> None:
    made, target = await five_seats(office)
    wanted = [{"price_id": target["prices"][0]["id"], "quantity": "3"}]
    body = changing(way, target, line_items=wanted, change_at="end_of_period", proration_behavior="none")
    await do(office, made, f"{way}/execute", body)
    await office.run("2026-05-01")
    live = [
        subscription
        for subscription in (await office.account.get("/subscriptions"))["items"]
        if subscription["plan_id"] == target["id"]
    ]
    (item,) = await open_items(office, live[0])
    assert item["quantity"] == "3"


@pytest.mark.parametrize("way", [V1, V2])
async def test_a_quantity_that_nothing_carries_on_is_warned_of(office: Office, way: str) -> None:
    made, _ = await five_seats(office)
    target = await office.plan(fixed("50"), fixed("9"), name="Two fees")
    done = await do(office, made, f"{way}/execute", changing(way, target))
    assert any("is not carried over" in warning for warning in done["warnings"])
