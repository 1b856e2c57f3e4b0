"""What a plan change leaves as it was agreed, and what it is told about what stands in its way, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.office import Office
from tests.subscriptions.shop import fixed

REPLACING = {
    "proration_behavior": "none",
    "billing_cadence": "RECURRING",
    "billing_period": "MONTHLY",
    "billing_cycle": "anniversary",
}
IN_PLACE = {"proration_behavior": "none"}


def inline(amount: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in fixed(amount, **more).items() if key not in {"currency", "start_date"}}


async def test_a_replacement_carries_all_that_is_not_the_plans(office: Office) -> None:
    await office.on("2026-04-01")
    for code in ("vat", "city"):
        await office.account.post(
            "/taxes/rates", {"name": code, "code": code, "tax_rate_type": "percentage", "percentage_value": "10"}
        )
    for code in ("whole", "part"):
        coupon = {"name": code, "type": "percentage", "percentage_off": "10", "cadence": "forever", "coupon_code": code}
        await office.account.post("/coupons", coupon)
    seats, trimmed = await office.addon(fixed("7"), key="seats"), await office.addon(fixed("3"), key="trimmed")
    customer = await office.customer()
    subscription = await office.subscribed(
        await office.plan(fixed("20")),
        customer,
        lookup_key="main",
        metadata={"team": "red", "old": "1"},
        collection_method="send_invoice",
        payment_terms="30 NET",
        tax_rate_overrides=[{"tax_rate_code": "city", "currency": "usd"}],
        addons=[
            {
                "addon_id": seats["id"],
                "metadata": {"deal": [1]},
                "override_line_items": [{"price_id": seats["prices"][0]["id"], "amount": "5", "quantity": "4"}],
            },
            {"addon_id": trimmed["id"]},
        ],
        line_items=[
            {"price": inline("11"), "quantity": "2", "display_name": "Support", "metadata": {"a": "b"}},
            {"price": inline("1"), "end_date": "2026-08-01T00:00:00Z"},
            {"price": inline("99", billing_period="ONETIME")},
        ],
        subscription_coupons=[{"coupon_code": "whole"}],
    )
    path = f"/subscriptions/{subscription.id}"
    before = await office.account.get(path)
    (support,) = (item for item in before["line_items"] if item["display_name"] == "Support")
    coupon = {"action": "add", "coupon_code": "part", "subscription_line_item_id": support["id"]}
    await office.account.post(f"{path}/modify/execute", {"type": "coupon", "coupon_params": coupon}, expect=200)
    (leaving,) = (
        association
        for association in (await office.account.get(f"{path}/addons/associations"))["items"]
        if association["addon_id"] == trimmed["id"]
    )
    await office.account.http.request(
        "DELETE",
        "/subscriptions/addon",
        json={"addon_association_id": leaving["id"], "effective_date": "2026-04-21T00:00:00Z", "reason": "too dear"},
    )
    await office.on("2026-04-11")
    target = await office.plan(fixed("50"), name="Other")
    body = {**REPLACING, "target_plan_id": target["id"], "metadata": {"team": "blue"}}
    done = await office.account.post(f"{path}/change/execute", body, expect=200)
    fresh = await office.account.get(f"/subscriptions/{done['new_subscription']['id']}")
    kept = ("lookup_key", "collection_method", "payment_terms", "payment_behavior", "currency", "timezone")
    assert {name: fresh[name] for name in kept} == {name: before[name] for name in kept}
    assert fresh["metadata"] == {"team": "blue", "old": "1"}
    items = sorted(
        (
            line_item["entity_type"],
            line_item["price"]["amount"],
            line_item["quantity"],
            line_item["display_name"],
            (line_item["end_date"] or "")[:10],
        )
        for line_item in fresh["line_items"]
    )
    assert items == [
        ("addon", "3", "1", items[0][3], "2026-04-21"),
        ("addon", "5", "4", items[1][3], ""),
        ("plan", "50", "1", items[2][3], ""),
        ("subscription", "1", "1", items[3][3], "2026-08-01"),
        ("subscription", "11", "2", "Support", ""),
    ]
    prices = [line_item["price"] for line_item in fresh["line_items"]]
    assert {price["entity_id"] for price in prices if price["entity_type"] == "SUBSCRIPTION"} == {fresh["id"]}
    listed = await office.account.get(f"/subscriptions/{fresh['id']}/addons/associations")
    carried = {association["addon_id"]: association for association in listed["items"]}
    assert carried[seats["id"]]["metadata"] == {"deal": [1]}
    assert (carried[trimmed["id"]]["end_date"], carried[trimmed["id"]]["cancellation_reason"]) == (
        "2026-04-21T00:00:00Z", "too dear",
    )  # fmt: skip
    heir = next(line_item["id"] for line_item in fresh["line_items"] if line_item["display_name"] == "Support")
    coupons = {
        coupon_association["coupon"]["coupon_code"]: coupon_association
        for coupon_association in fresh["coupon_associations"]
    }
    assert {code: association.get("subscription_line_item_id") for code, association in coupons.items()} == {
        "whole": None,
        "part": heir,
    }
    (tax,) = (await office.account.get(f"/invoices/{done['invoice']['id']}"))["taxes"]
    assert tax["tax_rate_id"]
    assert done["invoice"]["subtotal"] == str(50 + 22 + 1 + 20 + 1), "the addon that leaves is had for ten days"


async def test_a_replacement_takes_a_cancellation_back_and_says_so(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("20")))
    target = await office.plan(fixed("50"), name="Other")
    path = f"/subscriptions/{subscription.id}"
    ending = {"cancellation_type": "scheduled_date", "cancel_at": "2026-04-20T00:00:00Z"}
    await office.account.post(f"{path}/cancel", ending, expect=200)
    await office.on("2026-04-11")
    body = {**REPLACING, "proration_behavior": "create_prorations", "target_plan_id": target["id"]}
    later = {**body, "change_at": "end_of_period", "proration_behavior": "none"}
    for endpoint in ("preview", "execute"):
        await office.account.post(f"{path}/change/{endpoint}", later, expect=400)
    foretold = await office.account.post(f"{path}/change/preview", body, expect=200)
    assert foretold["warnings"] == ["the cancellation at 2026-04-20T00:00:00Z will be taken back"]
    done = await office.account.post(f"{path}/change/execute", body, expect=200)
    assert done["proration_applied"]["credit_amount"] == "13.33"
    fresh = await office.account.get(f"/subscriptions/{done['new_subscription']['id']}")
    assert (fresh["cancel_at"], fresh.get("end_date"), fresh["metadata"]) == (None, None, {})


async def test_a_replacement_for_later_is_previewed_as_of_then(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("20")))
    target = await office.plan(fixed("50"), name="Other")
    path = f"/subscriptions/{subscription.id}"
    body = {**REPLACING, "target_plan_id": target["id"], "change_at": "end_of_period"}
    foretold = await office.account.post(f"{path}/change/preview", body, expect=200)
    assert foretold["effective_date"] == "2026-05-01T00:00:00Z"
    assert foretold["next_invoice_preview"]["total"] == "50"
    assert "proration_details" not in foretold
    assert (await office.account.get("/subscriptions/schedules"))["count"] == 0
    await office.account.post(f"{path}/change/execute", body, expect=200)
    (schedule,) = (await office.account.get("/subscriptions/schedules"))["schedules"]
    assert schedule["configuration"] == {
        "target_plan_id": target["id"],
        "proration_behavior": "none",
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "billing_cycle": "anniversary",
        "change_metadata": {},
        "line_items": [],
    }
    refused = await office.account.post(f"{path}/change/execute", body, expect=400)
    assert refused["code"] == "invalid_operation"
    await office.run("2026-05-01")
    (schedule,) = (await office.account.get("/subscriptions/schedules"))["schedules"]
    assert schedule["execution_result"].keys() == {
        "old_subscription_id", "new_subscription_id", "change_type", "effective_date",
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"billing_period_behaviour": "anchor_at_effect"}, id="another anchor"),
        pytest.param({"billing_period_behaviour": "anchor_at_config"}, id="a configured anchor"),
        pytest.param(
            {"change_at": "end_of_period", "proration_behavior": "create_prorations"}, id="nothing to prorate"
        ),
        pytest.param({"target_plan_id": "<own>"}, id="the plan it has"),
    ],
)  # fmt: skip
async def test_changes_in_place_that_are_refused(office: Office, more: dict[str, Any]) -> None:
    own, target = await office.plan(fixed("20")), await office.plan(fixed("50"), name="Other")
    subscription = await office.subscribed(own)
    if more.get("target_plan_id"):
        more = {"target_plan_id": own["id"]}
    for endpoint in ("preview", "execute"):
        path = f"/subscriptions/{subscription.id}/change/v2/{endpoint}"
        refused = await office.account.post(path, {**IN_PLACE, "target_plan_id": target["id"], **more}, expect=400)
        assert refused["code"] == "invalid_operation"
    await office.account.post(path, {**IN_PLACE, "target_plan_id": "plan_x"}, expect=404)


@pytest.mark.parametrize("when", ["immediate", "end_of_period"])
async def test_a_change_that_waits_is_in_the_way_unless_superseded(office: Office, when: str) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("20")))
    first, second = await office.plan(fixed("50"), name="First"), await office.plan(fixed("60"), name="Second")
    path = f"/subscriptions/{subscription.id}/change/v2/execute"
    waiting = await office.account.post(
        path, {**IN_PLACE, "target_plan_id": first["id"], "change_at": "end_of_period"}, expect=200
    )
    body = {**IN_PLACE, "target_plan_id": second["id"], "change_at": when}
    refused = await office.account.post(path, body, expect=400)
    assert refused["code"] == "invalid_operation"
    unknown = {"addons": {"default_behaviour": "carry", "overrides": {"addon_assoc_x": "drop"}}}
    policies = {"on_conflict_policies": {"on_pending_schedule": "supersede"}, "entity_policies": unknown}
    done = await office.account.post(path, {**body, **policies}, expect=200)
    assert done["superseded_schedules"] == [waiting["schedule_id"]]
    assert done["warnings"] == ["'addon_assoc_x' is not an addon of the subscription"]
    gone = await office.account.get(f"/subscriptions/schedules/{waiting['schedule_id']}")
    assert gone["status"] == "cancelled"
    await office.run("2026-05-01")
    assert (await office.totals(subscription))[-1] == "60.00"
    if when == "end_of_period":
        after = await office.account.get(f"/subscriptions/schedules/{done['schedule_id']}")
        assert after["execution_result"].keys() == {
            "subscription_id", "from_plan_id", "to_plan_id", "change_type", "effective_date",
        }  # fmt: skip


async def test_one_key_is_for_one_change(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("20")))
    first, second = await office.plan(fixed("50"), name="First"), await office.plan(fixed("60"), name="Second")
    path = f"/subscriptions/{subscription.id}/change/v2/execute"
    body = {**IN_PLACE, "idempotency_key": "k"}
    done = await office.account.post(path, {**body, "target_plan_id": first["id"]}, expect=200)
    assert await office.account.post(path, {**body, "target_plan_id": first["id"]}, expect=200) == done
    refused = await office.account.post(path, {**body, "target_plan_id": second["id"]}, expect=409)
    assert refused["code"] == "already_exists"
