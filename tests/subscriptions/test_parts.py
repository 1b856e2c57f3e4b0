"""Line items, addons and activation over HTTP: what is refused, by which field, and where things begin and end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.subscriptions.shop import Shop, fixed

APRIL, MAY, JUNE = (f"2026-0{month}-01T00:00:00Z" for month in (4, 5, 6))


def inline(amount: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in fixed(amount, **more).items() if key not in {"currency", "start_date"}}


async def made(shop: Shop, *prices: dict[str, Any], expect: int = 201, **more: Any) -> Any:
    plan, customer = await shop.plan(*(prices or (fixed("10"),))), await shop.customer()
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    return await shop.account.post("/subscriptions", {**body, **more}, expect=expect)


async def asked(shop: Shop, method: str, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
    answer = await shop.account.http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


ADDED = [
    pytest.param({}, "price_id", id="no price"),
    pytest.param({"price_id": "price_x", "price": inline("1")}, "price_id", id="two prices"),
    pytest.param({"price": {"type": "FIXED"}}, "price.price_unit_type", id="half a price"),
    pytest.param({"price": inline("1"), "quantity": "-1"}, "quantity", id="less than nothing"),
    pytest.param({"price": inline("1"), "start_date": "2026-03-31T00:00:00Z"}, "start_date", id="before it began"),
    pytest.param({"price": inline("1"), "end_date": "2027-05-01T00:00:00Z"}, "end_date", id="beyond its end"),
    pytest.param({"price": inline("1"), "start_date": MAY, "end_date": APRIL}, "end_date", id="ends before it starts"),
    pytest.param({"price": inline("1", billing_period="WEEKLY")}, "billing_period", id="a shorter period"),
    pytest.param({"price": inline("1"), "subscription_phase_id": "phase_x"}, "subscription_phase_id", id="no phase"),
    pytest.param({"price": inline("1"), "commitment_amount": "5"}, "line_item_commitments", id="of a fee"),
    pytest.param({"price": inline("1"), "proration_behavior": "some"}, "proration_behavior", id="another behaviour"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), ADDED)
@pytest.mark.parametrize("endpoint", ["", "/preview"])
async def test_line_items_that_are_not_added(shop: Shop, endpoint: str, body: dict[str, Any], field: str) -> None:
    subscription = await made(shop, end_date="2027-04-01T00:00:00Z")
    refused = await asked(shop, "POST", f"/subscriptions/{subscription['id']}/lineitems{endpoint}", body, 400)
    assert (refused["code"], field in refused["details"]) == ("validation_error", True), refused
    assert len((await shop.account.get(f"/subscriptions/{subscription['id']}"))["line_items"]) == 1
    await asked(shop, "POST", f"/subscriptions/subs_x/lineitems{endpoint}", {"price": inline("1")}, 404)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        pytest.param({"trial_period_days": 5}, 201, id="trialing"),
        pytest.param({"subscription_status": "draft"}, 201, id="draft"),
        pytest.param({"payment_behavior": "allow_incomplete"}, 201, id="incomplete"),
        pytest.param({}, 400, id="paused"),
    ],
)
async def test_which_subscriptions_take_line_items(shop: Shop, more: dict[str, Any], status: int) -> None:
    subscription = await made(shop, **more)
    if not more:
        await shop.account.post(f"/subscriptions/{subscription['id']}/pause", {}, expect=200)
    await shop.account.post(f"/subscriptions/{subscription['id']}/lineitems", {"price": inline("1")}, expect=status)


async def test_where_a_line_item_begins_and_ends(shop: Shop) -> None:
    subscription = await made(shop, end_date="2027-04-01T00:00:00Z")
    path = f"/subscriptions/{subscription['id']}/lineitems"
    await shop.on("2026-04-11")
    spans = {}
    for name, body in {
        "unsaid": {"price": inline("1")},
        "said": {"price": inline("1"), "start_date": MAY, "end_date": JUNE},
        "the price starts later": {"price": {**inline("1"), "start_date": JUNE}},
        "once": {"price": inline("1", billing_period="ONETIME"), "start_date": MAY, "end_date": JUNE},
        "nothing is the least": {"price": {**inline("1"), "min_quantity": 3}, "quantity": "0"},
    }.items():
        item = await shop.account.post(path, body)
        spans[name] = (item["start_date"], item["end_date"], item["quantity"])
    year = "2027-04-01T00:00:00Z"
    assert spans == {
        "unsaid": ("2026-04-11T00:00:00Z", year, "1"),
        "said": (MAY, JUNE, "1"),
        "the price starts later": (JUNE, year, "1"),
        "once": (MAY, "2026-05-01T00:00:01Z", "1"),
        "nothing is the least": ("2026-04-11T00:00:00Z", year, "3"),
    }


@pytest.mark.parametrize(
    ("method", "body", "status", "field"),
    [
        pytest.param("PUT", {"effective_from": "2026-05-10T00:00:00Z"}, 400, "effective_from", id="a date alone"),
        pytest.param("PUT", {"amount": "-1"}, 400, "amount", id="a negative amount"),
        pytest.param(
            "PUT", {"amount": "1", "effective_from": "2026-04-10T00:00:00Z"}, 400, "effective_from", id="invoiced"
        ),
        pytest.param(
            "PUT", {"amount": "1", "effective_from": "2026-03-10T00:00:00Z"}, 400, "effective_from", id="not begun"
        ),
        pytest.param("PUT", {"price_unit_amount": "1"}, 400, "price_unit_amount", id="units for a fiat price"),
        pytest.param("DELETE", {"effective_from": "2026-03-10T00:00:00Z"}, 400, "effective_from", id="ended unbegun"),
        pytest.param("DELETE", {"effective_from": "2026-12-10T00:00:00Z"}, 400, "line_item_id", id="ended later"),
    ],
)
async def test_changes_of_line_items_that_are_refused(
    shop: Shop, method: str, body: dict[str, Any], status: int, field: str
) -> None:
    subscription = await made(shop, end_date="2026-12-01T00:00:00Z")
    await shop.on("2026-05-05")
    async with shop.transaction() as session:
        from farthing.subscriptions import roll_forward

        row = await roll_forward.lock_due(session, subscription["id"], shop.now)
        assert row is not None
        await roll_forward.advance_to(session, row, shop.now)
    (item,) = subscription["line_items"]
    path = f"/subscriptions/lineitems/{item['id']}"
    refused = await asked(shop, method, path, body, status)
    assert field in refused["details"], refused
    preview = f"{path}{'/end' if method == 'DELETE' else ''}/preview"
    assert (await asked(shop, "POST", preview, body, status))["details"] == refused["details"]
    await asked(shop, method, "/subscriptions/lineitems/subs_line_x", {}, 404)


async def test_a_new_version_keeps_the_end_and_an_end_only_moves_earlier(shop: Shop) -> None:
    subscription = await made(shop)
    (item,) = subscription["line_items"]
    path = "/subscriptions/lineitems/{}"
    once = await shop.account.post(
        f"/subscriptions/{subscription['id']}/lineitems", {"price": inline("1", billing_period="ONETIME")}
    )
    await asked(shop, "DELETE", path.format(once["id"]), {}, 400)
    ended = await asked(shop, "DELETE", path.format(item["id"]), {"effective_from": JUNE}, 200)
    assert ended["end_date"] == JUNE
    await asked(shop, "DELETE", path.format(item["id"]), {"effective_from": "2026-06-02T00:00:00Z"}, 400)
    version = await asked(shop, "PUT", path.format(item["id"]), {"amount": "9", "effective_from": MAY}, 200)
    assert (version["start_date"], version["end_date"], version["quantity"]) == (MAY, JUNE, "1")
    earlier = await asked(shop, "DELETE", path.format(version["id"]), {"effective_from": "2026-05-20T00:00:00Z"}, 200)
    assert earlier["end_date"] == "2026-05-20T00:00:00Z"
    labelled = await asked(shop, "PUT", path.format(version["id"]), {"metadata": {"a": "b"}}, 200)
    assert (labelled["id"], labelled["metadata"]) == (version["id"], {"a": "b"})


class TestAddons:
    async def test_one_for_a_period_ends_with_it(self, shop: Shop) -> None:
        subscription, addon = await made(shop), await shop.addon(fixed("3"))
        body = {"subscription_id": subscription["id"], "addon_id": addon["id"], "cadence": "onetime"}
        for start, end in (("2026-04-11T00:00:00Z", MAY), ("2026-05-11T00:00:00Z", JUNE)):
            attached = await shop.account.post("/subscriptions/addon", {**body, "start_date": start}, expect=200)
            assert (attached["start_date"], attached["end_date"]) == (start, end)
        items = await shop.account.post(
            "/subscriptions/lineitems/search", {"entity_type": "addon", "entity_ids": [addon["id"]]}, expect=200
        )
        assert sorted(item["end_date"] for item in items["items"]) == [MAY, JUNE]

    async def test_what_is_not_attached(self, shop: Shop) -> None:
        await shop.customer("heir")
        family = {"external_customer_ids_to_inherit_subscription": ["heir"]}
        subscription = await made(shop, inheritance=family, end_date="2026-12-01T00:00:00Z")
        (child,) = (await shop.account.get("/subscriptions", subscription_type="inherited"))["items"]
        addon, bare = await shop.addon(fixed("3")), await shop.addon(key="bare")
        body = {"subscription_id": subscription["id"], "addon_id": addon["id"]}
        for more, status, word in (
            ({"addon_id": "addon_x"}, 404, "addon_id"),
            ({"subscription_id": "subs_x"}, 404, "subscription_id"),
            ({"subscription_id": child["id"]}, 400, "subscription_id"),
            ({"addon_id": bare["id"]}, 400, "addon_id"),
            ({"start_date": "2026-12-01T00:00:00Z"}, 400, "start_date"),
            ({"cadence": "sometimes"}, 400, "cadence"),
            ({"override_line_items": [{"price_id": "price_x", "quantity": "1"}]}, 400, "override_line_items"),
            ({"line_item_commitments": {"price_x": {"commitment_amount": "1"}}}, 400, "line_item_commitments"),
        ):
            refused = await asked(shop, "POST", "/subscriptions/addon", {**body, **more}, status)
            assert word in refused["details"], (more, refused)
        await asked(shop, "POST", "/subscriptions/addon", {**body, "checkout": {"payment_provider": "stripe"}}, 400)

    async def test_what_is_not_detached(self, shop: Shop) -> None:
        addon = await shop.addon(fixed("3"))
        subscription = await made(shop, addons=[{"addon_id": addon["id"]}])
        (association,) = (await shop.account.get(f"/subscriptions/{subscription['id']}/addons/associations"))["items"]
        body = {"addon_association_id": association["id"]}
        for moment in ("2026-03-31T00:00:00Z", "2026-05-02T00:00:00Z"):
            refused = await asked(shop, "DELETE", "/subscriptions/addon", {**body, "effective_date": moment}, 400)
            assert list(refused["details"]) == ["effective_date"]
        await asked(shop, "DELETE", "/subscriptions/addon", {"addon_association_id": "addon_assoc_x"}, 404)
        done = await asked(shop, "DELETE", "/subscriptions/addon", body, 200)
        assert done == {"message": "addon removed from subscription successfully"}
        (ending,) = (await shop.account.get(f"/subscriptions/{subscription['id']}/addons/associations"))["items"]
        assert (ending["end_date"], ending["addon_status"]) == (MAY, "active"), "with the period unless told otherwise"
        assert (await asked(shop, "DELETE", "/subscriptions/addon", body, 400))["code"] == "invalid_operation"


async def test_activation_moves_all_that_belongs_to_a_draft(shop: Shop) -> None:
    """From January 31st to March 1st: what is for one period ends with the period that it has moved into."""
    await shop.on("2026-01-31")
    addon = await shop.addon(fixed("3"))
    draft = await made(
        shop,
        fixed("10"),
        fixed("99", billing_period="ONETIME"),
        subscription_status="draft",
        end_date="2026-10-31T00:00:00Z",
        billing_anchor="2026-02-10T00:00:00Z",
        addons=[{"addon_id": addon["id"], "cadence": "onetime"}],
        line_items=[{"price": inline("5"), "start_date": "2026-02-05T00:00:00Z"}],
    )
    assert "latest_invoice" not in draft
    await asked(shop, "POST", f"/subscriptions/{draft['id']}/activate", {}, 400)
    body = {"start_date": "2026-03-01T00:00:00Z"}
    await shop.on("2026-03-01")
    live = await shop.account.post(f"/subscriptions/{draft['id']}/activate", body, expect=200)
    # the anchor keeps its distance of ten days
    assert (live["billing_anchor"], live["current_period_end"]) == ("2026-03-11T00:00:00Z", "2026-03-11T00:00:00Z")
    spans = sorted(
        (line_item["price"]["amount"], line_item["start_date"][:10], line_item["end_date"][:19])
        for line_item in live["line_items"]
    )
    assert spans == [
        ("10", "2026-03-01", "2026-11-29T00:00:00"),
        ("3", "2026-03-01", "2026-03-11T00:00:00"),
        ("5", "2026-03-06", "2026-11-29T00:00:00"),
        ("99", "2026-03-01", "2026-03-01T00:00:01"),
    ]
    listed = await shop.account.get(f"/subscriptions/{draft['id']}/addons/associations")
    assert [item["end_date"] for item in listed["items"]] == ["2026-03-11T00:00:00Z"]
    assert (live["latest_invoice"]["billing_reason"], live["subscription_status"]) == ("SUBSCRIPTION_CREATE", "active")
    refused = await asked(shop, "POST", f"/subscriptions/{draft['id']}/activate", body, 400)
    assert (refused["code"], refused["details"]["subscription_status"]) == ("invalid_operation", "active")
    assert await shop.events(draft["id"]) == [
        "subscription.draft.created", "subscription.updated", "subscription.activated",
    ]  # fmt: skip


class TestSearch:
    """Each filter alone finds the one of two that it describes."""

    async def test_line_items(self, shop: Shop) -> None:
        calls = await shop.feature()
        addon = await shop.addon(fixed("3"))
        mine = await made(shop, fixed("10"), addons=[{"addon_id": addon["id"]}])
        other = await made(shop, shop.usage(calls, "1", currency="eur"), currency="eur")
        (association,) = (await shop.account.get(f"/subscriptions/{mine['id']}/addons/associations"))["items"]
        items = {line_item["entity_type"]: line_item for line_item in mine["line_items"]}
        (usage,) = other["line_items"]
        both = {items["plan"]["id"], items["addon"]["id"]}
        for body, found in (
            ({"subscription_line_item_ids": [usage["id"]]}, {usage["id"]}),
            ({"subscription_ids": [mine["id"]]}, both),
            ({"customer_ids": [other["customer_id"]]}, {usage["id"]}),
            ({"price_ids": [usage["price_id"]]}, {usage["id"]}),
            ({"meter_ids": [calls["meter_id"]]}, {usage["id"]}),
            ({"currencies": ["USD"]}, both),
            ({"billing_periods": ["ANNUAL"]}, set()),
            ({"entity_ids": [addon["id"]]}, {items["addon"]["id"]}),
            ({"entity_type": "addon"}, {items["addon"]["id"]}),
            ({"addon_association_ids": [association["id"]]}, {items["addon"]["id"]}),
            ({"current_period_start": MAY}, both | {usage["id"]}),
        ):
            answer = await shop.account.post(
                "/subscriptions/lineitems/search", {**body, "expand": "prices"}, expect=200
            )
            assert {item["id"] for item in answer["items"]} == found, body
            assert all(item["price"]["id"] == item["price_id"] for item in answer["items"]), body
        await asked(shop, "DELETE", f"/subscriptions/lineitems/{items['plan']['id']}", {"effective_from": MAY}, 200)
        await shop.on("2026-05-02")
        left = await shop.account.post("/subscriptions/lineitems/search", {"active_filter": True}, expect=200)
        assert {item["id"] for item in left["items"]} == {items["addon"]["id"], usage["id"]}
        await asked(shop, "POST", "/subscriptions/lineitems/search", {"expand": "invoices"}, 400)
        await asked(shop, "POST", "/subscriptions/lineitems/search", {"entity_type": "wallet"}, 400)

    async def test_subscriptions(self, shop: Shop) -> None:
        mine = await made(shop, billing_cycle="calendar", end_date="2026-09-01T00:00:00Z")
        yearly = fixed("10", billing_period="ANNUAL")
        other = await made(shop, yearly, billing_period="ANNUAL", trial_period_days=10)
        for body, found in (
            ({"subscription_ids": [mine["id"]]}, mine),
            ({"customer_id": mine["customer_id"]}, mine),
            ({"customer_ids": [other["customer_id"]]}, other),
            ({"external_customer_id": "customer-2"}, other),
            ({"plan_id": other["plan_id"]}, other),
            ({"subscription_status": ["trialing", "paused"]}, other),
            ({"billing_period": ["ANNUAL"]}, other),
            ({"active_at": "2026-10-01T00:00:00Z"}, other),
            ({"effective_date_for_update": "2026-04-11T00:00:00Z"}, other),
            ({"trial_end_due_lte": "2026-04-11T00:00:00Z"}, other),
            ({"invoicing_customer_ids": ["cust_x"]}, None),
            ({"parent_subscription_ids": ["subs_x"]}, None),
            ({"subscription_type": ["parent"]}, None),
        ):
            answer = await shop.account.post("/subscriptions/search", body, expect=200)
            assert [item["id"] for item in answer["items"]] == ([found["id"]] if found else []), body
            assert answer["pagination"]["total"] == len(answer["items"])
        whole = await shop.account.post(
            "/subscriptions/search", {"with_line_items": True, "expand": "plan,customer"}, expect=200
        )
        assert all(item["line_items"] and item["plan"]["id"] == item["plan_id"] for item in whole["items"])
        for body in ({"subscription_status": ["gone"]}, {"expand": "invoices"}, {"limit": 100000}):
            await asked(shop, "POST", "/subscriptions/search", body, 400)
