"""Views of usage: on one wall, with every item, up to this moment."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from tests.billing.office import Office

Body = Mapping[str, Any]
JANUARY = {"start_time": "2026-01-01T05:00:00Z", "end_time": "2026-02-01T05:00:00Z"}
AD_HOC = {"event_name": "calls", "aggregation_type": "MAX", "property_name": "x", "bucket_size": "DAY"}


async def value(office: Office, path: str, **asked: Any) -> Decimal:
    """The value that a usage query answers, 0 where it names none."""
    return Decimal(str((await office.account.post(path, {**JANUARY, **asked}, expect=200)).get("value", 0)))


async def daily_maxima(office: Office) -> dict[str, Any]:
    """A feature that adds the largest `x` of each day."""
    return await office.feature("calls", type="MAX", field="x", bucket_size="DAY")


async def night_and_morning(office: Office, customer: Body) -> None:
    """5 late on the tenth and 9 early on the eleventh in New York, which in UTC are one day."""
    await office.recorded("calls", customer, ("2026-01-11T03:00", {"x": 5}), ("2026-01-11T06:00", {"x": 9}))


async def test_daily_maxima_in_new_york_are_the_same_in_every_view(office: Office) -> None:
    calls = await daily_maxima(office)
    customer = await office.customer(timezone="America/New_York")
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    await night_and_morning(office, customer)
    # the subscription's wall is that of its customer when it was made
    await office.account.put(f"/customers/{customer['id']}", {"timezone": "UTC"})
    meter = {"meter_id": calls["meter_id"]}
    for whose in ({"external_customer_id": customer["external_id"]}, {"customer_id": customer["id"]}):
        assert await value(office, "/events/usage", **AD_HOC, **whose) == 14
        assert await value(office, "/events/usage/meter", **meter, **whose) == 14
        assert await value(office, "/events/usage/meter", **meter, **whose, timezone="UTC") == 9
        daily = {**meter, **whose, **JANUARY, "window_size": "DAY"}
        answer = await office.account.post("/events/usage/meter", daily, expect=200)
        assert [point["window_size"] for point in answer["results"]] == ["2026-01-10T05:00:00Z", "2026-01-11T05:00:00Z"]
    shown = {"external_customer_id": customer["external_id"], **JANUARY}
    assert (await office.account.post("/events/analytics", shown, expect=200))["items"][0]["total_usage"] == "14"
    shown = {"subscription_id": subscription.id, **JANUARY}
    assert (await office.account.post("/subscriptions/usage", shown, expect=200))["amount"] == 14
    assert (await office.previewed(subscription))[0] == "14.00"
    await office.run("2026-02-02")
    assert "14.00" in await office.totals(subscription)


@pytest.mark.parametrize(
    ("own", "expected"), [pytest.param("America/New_York", 14, id="new york"), pytest.param("UTC", 9, id="utc")]
)
async def test_without_a_subscription_the_wall_is_the_customers(office: Office, own: str, expected: int) -> None:
    calls = await daily_maxima(office)
    customer = await office.customer(timezone=own)
    await night_and_morning(office, customer)
    whose = {"customer_id": customer["id"]}
    assert await value(office, "/events/usage/meter", meter_id=calls["meter_id"], **whose) == expected
    assert await value(office, "/events/usage", **AD_HOC, **whose) == expected
    assert await value(office, "/events/usage", **AD_HOC) == 9  # everybody's together


async def test_a_child_is_on_the_wall_of_its_parent(office: Office) -> None:
    calls = await daily_maxima(office)
    parent = await office.customer(timezone="America/New_York")
    child = await office.customer()
    inherit = {"external_customer_ids_to_inherit_subscription": [child["external_id"]]}
    await office.subscribed(await office.plan(office.usage(calls, "1")), parent, inheritance=inherit)
    await night_and_morning(office, child)
    assert await value(office, "/events/usage/meter", meter_id=calls["meter_id"], customer_id=child["id"]) == 14


async def test_usage_so_far_names_every_item(office: Office) -> None:
    features = [await office.feature(name) for name in ("a", "b", "free")]
    plan = await office.plan(*(office.usage(feature, "1") for feature in features))
    await office.entitle(plan, features[2], usage_limit=10, usage_reset_period="MONTHLY")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)

    async def charges(**asked: Any) -> list[tuple[str, int, int]]:
        shown = {"subscription_id": subscription.id, **asked}
        answer = await office.account.post("/subscriptions/usage", shown, expect=200)
        return sorted((line["meter_display_name"], line["quantity"], line["amount"]) for line in answer["charges"])

    nothing = [("a", 0, 0), ("b", 0, 0), ("free", 0, 0)]
    assert await charges() == nothing
    assert await charges(lifetime_usage=True) == nothing
    await office.used("a", customer, 2, "2026-01-05")
    await office.used("free", customer, 3, "2026-01-05")
    assert await charges() == [("a", 2, 2), ("b", 0, 0), ("free", 0, 0)]
    assert await charges(start_time="2026-01-10T00:00:00Z", end_time="2026-01-11T00:00:00Z") == nothing
    wrong = {"subscription_id": subscription.id, "start_time": "2026-03-01T00:00:00Z"}
    assert "start_time" in (await office.account.post("/subscriptions/usage", wrong, expect=400))["details"]


async def test_lifetime_usage_of_what_has_not_begun_is_nothing(office: Office) -> None:
    plan = await office.plan(office.usage(await office.feature(), "1"))
    subscription = await office.subscribed(plan, start_date="2026-02-01T00:00:00Z")
    shown = {"subscription_id": subscription.id, "lifetime_usage": True}
    assert (await office.account.post("/subscriptions/usage", shown, expect=200))["amount"] == 0


async def test_what_came_just_now_is_seen_where_a_clock_stands_still(office: Office) -> None:
    calls = await office.feature("calls", type="SUM", field="x")
    plan = await office.plan(office.usage(calls, "1"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="DAILY")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    external_id = customer["external_id"]
    await office.on("2026-01-20T12:00")
    event = {"event_name": "calls", "external_customer_id": external_id, "properties": {"x": 25}}
    await office.account.post("/events", event, expect=202)
    whose = {"external_customer_id": external_id}
    account = office.account
    numbers = [
        (await account.post("/events/usage/meter", {"meter_id": calls["meter_id"], **whose}, expect=200))["value"],
        (
            await account.post(
                "/events/usage",
                {"event_name": "calls", "aggregation_type": "SUM", "property_name": "x", **whose},
                expect=200,
            )
        )["value"],
        (await account.post("/events/analytics", whose, expect=200))["items"][0]["total_usage"],
        (await account.get("/customers/usage", customer_lookup_key=external_id))["features"][0]["current_usage"],
    ]
    assert [Decimal(str(number)) for number in numbers] == [25] * 4
    shown = {"subscription_id": subscription.id, "lifetime_usage": True}
    assert (await account.post("/subscriptions/usage", shown, expect=200))["amount"] == 15
    assert (await account.get("/events/monitoring"))["total_count"] == 1
    assert (await account.post("/events/query", {}, expect=200))["total_count"] == 1
