"""A coupon on a line item follows it: whatever version of the item is charged, the coupon discounts it, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from farthing.subscriptions.tables import Subscription
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

HALF = {"type": "percentage", "percentage_off": "50"}
FIVE = {"type": "fixed", "amount_off": "5", "currency": "usd"}


async def seats(office: Office, off: dict[str, Any], cadence: str = "forever", **price: Any) -> Subscription:
    """Two seats of 10 with a coupon on them, beside a fee of 100 that has none."""
    coupon = {"name": "Off", "coupon_code": "OFF", "cadence": cadence, **off}
    await office.account.post("/coupons", coupon)
    seat = fixed("10", **{"min_quantity": 2, **price})
    plan = await office.plan(seat, fixed("100"))
    return await office.subscribed(
        plan, subscription_coupons=[{"coupon_code": "OFF", "price_id": plan["prices"][0]["id"]}]
    )


async def item_of(office: Office, subscription: Subscription, amount: str) -> str:
    """The open line item with this price."""
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    (item,) = (
        line_item
        for line_item in read["line_items"]
        if line_item["price"]["amount"] == amount and not line_item.get("end_date")
    )
    return str(item["id"])


async def more_seats(office: Office, subscription: Subscription, quantity: str, at: str = "") -> None:
    change: dict[str, Any] = {"id": await item_of(office, subscription, "10"), "quantity": quantity}
    if at:
        change["effective_date"] = at
    body = {"type": "quantity_change", "quantity_change_params": {"line_items": [change]}}
    await office.account.post(f"/subscriptions/{subscription.id}/modify/execute", body, expect=200)


async def discounts(office: Office, subscription: Subscription) -> Sequence[tuple[str, str]]:
    """Subtotal and discount of each invoice, oldest first."""
    return [
        (f"{invoice.subtotal:.2f}", f"{invoice.total_discount:.2f}") for invoice in await office.invoices(subscription)
    ]


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        pytest.param(HALF, [("120.00", "10.00"), ("150.00", "25.00")], id="a half of whatever there is"),
        pytest.param(FIVE, [("120.00", "5.00"), ("150.00", "5.00")], id="an amount once"),
    ],
)
async def test_another_quantity(office: Office, off: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    subscription = await seats(office, off)
    await office.on("2026-01-31")
    await more_seats(office, subscription, "5")
    await office.run("2026-02-01")
    # the day of the three new seats was billed beside it
    assert (await discounts(office, subscription))[0] == expected[0]
    assert (await discounts(office, subscription))[-1] == expected[1]


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        pytest.param(HALF, ("35.49", "17.75"), id="a half of each version"),
        pytest.param(FIVE, ("35.49", "5.00"), id="an amount once for both versions"),
    ],
)
async def test_versions_of_one_period_are_one_charge(
    office: Office, off: dict[str, Any], expected: tuple[str, str]
) -> None:
    """In arrears, both versions are on the same invoice: 15 days of 2 seats and 16 days of 5."""
    coupon = {"name": "Off", "coupon_code": "OFF", "cadence": "forever", **off}
    await office.account.post("/coupons", coupon)
    plan = await office.plan(fixed("10", min_quantity=2, **ARREAR))
    subscription = await office.subscribed(
        plan, subscription_coupons=[{"coupon_code": "OFF", "price_id": plan["prices"][0]["id"]}]
    )
    await office.on("2026-01-16")
    await more_seats(office, subscription, "5")
    await office.run("2026-02-01")
    assert (await discounts(office, subscription))[-1] == expected


async def test_a_chain_of_versions(office: Office) -> None:
    subscription = await seats(office, HALF)
    for day, quantity in enumerate(("3", "4", "6"), start=29):
        await office.on(f"2026-01-{day}")
        await more_seats(office, subscription, quantity)
    # two periods later the first versions are long over
    await office.run("2026-04-01")
    assert (await discounts(office, subscription))[-1] == ("160.00", "30.00")


async def test_another_price(office: Office) -> None:
    subscription = await seats(office, HALF)
    await office.on("2026-01-31")
    item = await item_of(office, subscription, "10")
    await office.account.put(f"/subscriptions/lineitems/{item}", {"amount": "20"}, expect=200)
    await office.run("2026-02-01")
    assert (await discounts(office, subscription))[-1] == ("140.00", "20.00")


async def test_what_was_used_once_is_not_used_by_the_next_version(office: Office) -> None:
    subscription = await seats(office, HALF, cadence="once")
    await office.on("2026-01-31")
    await more_seats(office, subscription, "5")
    await office.run("2026-02-01")
    assert (await discounts(office, subscription))[0] == ("120.00", "10.00")
    assert (await discounts(office, subscription))[-1] == ("150.00", "0.00")


async def test_the_same_charge_on_another_plan(office: Office) -> None:
    """A plan change in place carries a charge that is billed alike, and its coupon with it."""
    subscription = await seats(office, HALF)
    other = await office.plan(fixed("10", min_quantity=2), fixed("300"), name="Other")
    await office.on("2026-01-31")
    body = {"target_plan_id": other["id"], "proration_behavior": "none"}
    await office.account.post(f"/subscriptions/{subscription.id}/change/v2/execute", body, expect=200)
    await office.run("2026-02-01")
    assert (await discounts(office, subscription))[-1] == ("320.00", "10.00")


async def test_a_coupon_of_a_later_version_leaves_the_earlier_alone(office: Office) -> None:
    await office.account.post("/coupons", {"name": "Off", "coupon_code": "OFF", "cadence": "forever", **HALF})
    plan = await office.plan(fixed("10", min_quantity=2, **ARREAR))
    subscription = await office.subscribed(plan)
    await office.on("2026-01-16")
    await more_seats(office, subscription, "5")
    item = await item_of(office, subscription, "10")
    target = {"action": "add", "coupon_code": "OFF", "subscription_line_item_id": item}
    await office.account.post(
        f"/subscriptions/{subscription.id}/modify/execute", {"type": "coupon", "coupon_params": target}, expect=200
    )
    await office.run("2026-02-01")
    # 15 of 31 days of 2 seats are 9.68, 16 of 31 days of 5 are 25.81
    assert (await discounts(office, subscription))[-1] == ("35.49", "12.91")


async def test_a_preview_discounts_what_it_would_make(office: Office) -> None:
    subscription = await seats(office, HALF)
    await office.on("2026-01-16")
    change = {"id": await item_of(office, subscription, "10"), "quantity": "5"}
    body = {"type": "quantity_change", "quantity_change_params": {"line_items": [change]}}
    path = f"/subscriptions/{subscription.id}/modify"
    previewed = await office.account.post(f"{path}/preview", body, expect=200)
    executed = await office.account.post(f"{path}/execute", body, expect=200)
    (shown,) = previewed["changed_resources"]["invoices"]
    (made,) = executed["changed_resources"]["invoices"]
    read = await office.account.get(f"/invoices/{made['id']}")
    assert shown["invoice"]["total"] == read["total"]
