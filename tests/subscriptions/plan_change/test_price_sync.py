"""Bringing line items in line with the prices of their plan or addon, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from flexprice.models import ModelsTemporalWorkflowResult
from sqlalchemy import text

from farthing.catalogue.enums import PriceEntityType
from farthing.subscriptions.addons import addon_sync, lifecycle
from farthing.subscriptions.line_items import price_sync
from farthing.subscriptions.line_items.price_sync import SyncCounts
from farthing.subscriptions.schemas.requests import AddAddonToSubscriptionRequest
from tests.account import Account
from tests.subscriptions.shop import Shop, fixed, of_wire
from tests.waiting import PATIENCE_SECONDS


async def sync(shop: Shop, owner: str, owner_id: str) -> tuple[int, int, int]:
    """Subscriptions looked at, line items created and line items ended by a run."""
    done = await shop.account.post(f"/{owner}/{owner_id}/sync/subscriptions", expect=200)
    assert {"message", "workflow_id", "run_id"} < done.keys()
    return done["subscriptions"], done["line_items_created"], done["line_items_ended"]


async def lines(shop: Shop, subscription_id: str) -> list[tuple[str, str, str | None]]:
    """All line items of a subscription, ended ones included: amount, start and end, by their starts."""
    body = {"subscription_ids": [subscription_id], "expand": "prices"}
    found = (await shop.account.post("/subscriptions/lineitems/search", body, expect=200))["items"]
    rows = [(item["price"]["amount"], item["start_date"], item["end_date"]) for item in found]
    return sorted(rows, key=lambda row: (row[1], row[2] or "~", row[0]))


async def attach(shop: Shop, subscription_id: str, addon_id: str, **more: Any) -> str:
    """Attach an addon now; the attachment's id."""
    request = of_wire(AddAddonToSubscriptionRequest, {"addon_id": addon_id, **more})
    association, _ = await shop.do(lifecycle.add, subscription_id, request, shop.now)
    return str(association.id)


APRIL, MIDDLE, MAY = "2026-04-01T00:00:00Z", "2026-04-11T00:00:00Z", "2026-05-01T00:00:00Z"


class TestPlan:
    async def test_a_new_price_reaches_those_who_subscribe_and_a_second_run_changes_nothing(self, shop: Shop) -> None:
        calls = await shop.feature()
        plan = await shop.plan(shop.usage(calls, "0.01"))
        price = plan["prices"][0]["id"]
        plain = await shop.subscribe(plan)
        own = await shop.subscribe(plan, override_line_items=[{"price_id": price, "amount": "0.005"}])
        draft = await shop.subscribe(plan, subscription_status="draft")
        await shop.on("2026-04-11")
        await shop.account.put(f"/prices/{price}", {"amount": "0.008"})
        stored = await shop.feature("storage")
        await shop.account.post(
            "/prices", shop.usage(stored, "0.5", entity_type="PLAN", entity_id=plan["id"], start_date=MIDDLE)
        )

        assert await sync(shop, "plans", plan["id"]) == (3, 5, 2)
        for each in (plain, draft):
            assert await lines(shop, each.subscription.id) == [
                ("0.01", APRIL, MIDDLE),
                ("0.008", MIDDLE, None),
                ("0.5", MIDDLE, None),
            ]
        assert await lines(shop, own.subscription.id) == [("0.005", APRIL, None), ("0.5", MIDDLE, None)]
        assert (await shop.events(plain.subscription.id))[-1] == "subscription.updated"

        before = await lines(shop, plain.subscription.id)
        assert await sync(shop, "plans", plan["id"]) == (0, 0, 0)
        assert await lines(shop, plain.subscription.id) == before

    async def test_other_currencies_and_cancelled_subscriptions_get_nothing(self, shop: Shop) -> None:
        calls = await shop.feature()
        plan = await shop.plan(shop.usage(calls, "1"), fixed("2", currency="eur"))
        foreign = await shop.subscribe(plan, currency="eur")
        gone = await shop.subscribe(plan)
        await shop.account.post(
            f"/subscriptions/{gone.subscription.id}/cancel", {"cancellation_type": "immediate"}, expect=200
        )
        kept = await lines(shop, gone.subscription.id)
        await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "3"})
        assert await sync(shop, "plans", plan["id"]) == (1, 0, 0)
        assert [amount for amount, _, _ in await lines(shop, foreign.subscription.id)] == ["2"]
        assert await lines(shop, gone.subscription.id) == kept

    async def test_an_older_path_does_the_same(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        await shop.subscribe(plan)
        await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "2"})
        done = await shop.account.post(f"/plans/{plan['id']}/sync/subscriptions/v2", expect=200)
        assert (done["line_items_created"], done["line_items_ended"]) == (1, 1)

    async def test_pages_cover_everybody_once(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        made = [await shop.subscribe(plan) for _ in range(5)]
        await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "2"})
        target = await shop.do(price_sync.target_sequence, plan["id"])
        sizes, after = [], ""
        while True:
            counts: SyncCounts = await shop.do(price_sync.sync_page, plan["id"], target, after=after, limit=2)
            sizes.append(counts.created)
            if counts.last_id is None:
                break
            after = counts.last_id
        assert sizes == [2, 2, 1]
        for each in made:
            assert [amount for amount, _, end in await lines(shop, each.subscription.id) if end is None] == ["2"]

    async def test_of_two_runs_at_once_each_line_item_is_made_once(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        made = [await shop.subscribe(plan) for _ in range(3)]
        await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "2"})
        path = f"/plans/{plan['id']}/sync/subscriptions"
        answers = await asyncio.gather(*(shop.account.http.post(path) for _ in range(6)))
        assert {answer.status_code for answer in answers} <= {200, 409}
        done = [answer.json() for answer in answers if answer.status_code == 200]
        assert sum(sync["line_items_created"] for sync in done) == 3
        for each in made:
            assert len(await lines(shop, each.subscription.id)) == 2

    async def test_a_run_is_refused_while_another_is_at_work_and_free_when_it_is_gone(self, shop: Shop) -> None:
        calls = await shop.feature()
        plan, other = await shop.plan(shop.usage(calls, "1")), await shop.plan(shop.usage(calls, "2"), name="Other")
        subscribed = await shop.subscribe(plan)
        await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "2"})
        path = f"/plans/{plan['id']}/sync/subscriptions"
        async with shop.transaction() as session:
            # whichever run is first stops at a subscription that somebody is changing
            await session.execute(
                text("SELECT 1 FROM subscriptions WHERE id = :id FOR UPDATE"), {"id": subscribed.subscription.id}
            )
            # a key for each: a refusal that passes must not become the answer to its key
            keys = [{"Idempotency-Key": key} for key in ("first", "second")]
            runs = [asyncio.create_task(shop.account.http.post(path, headers=key)) for key in keys]
            answered, waiting = await asyncio.wait(runs, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            assert len(answered) == len(waiting) == 1
            refused = answered.pop().result()
            assert refused.status_code == 409, refused.text
            assert refused.json()["code"] == "already_exists"
            assert refused.json()["details"] == {"plan_id": plan["id"]}
            assert refused.headers["retry-after"] == "1"
            assert await sync(shop, "plans", other["id"]) == (0, 0, 0)
        assert (await waiting.pop()).json()["line_items_created"] == 1
        again = [await shop.account.http.post(path, headers=key) for key in keys]
        assert [answer.status_code for answer in again] == [200, 200]
        assert await sync(shop, "plans", plan["id"]) == (0, 0, 0)


class TestAddon:
    async def test_a_new_price_reaches_every_attachment_and_a_second_run_changes_nothing(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        addon = await shop.addon(shop.usage(await shop.feature(), "0.01"))
        price = addon["prices"][0]["id"]
        twice, without = await shop.subscribe(plan), await shop.subscribe(plan)
        plain = await attach(shop, twice.subscription.id, addon["id"])
        own = await attach(
            shop, twice.subscription.id, addon["id"], override_line_items=[{"price_id": price, "amount": "0.005"}]
        )
        await shop.on("2026-04-11")
        await shop.account.put(f"/prices/{price}", {"amount": "0.008"})

        assert await sync(shop, "addons", addon["id"]) == (1, 1, 1)
        body = {"subscription_ids": [twice.subscription.id], "expand": "prices"}
        found = (await shop.account.post("/subscriptions/lineitems/search", body, expect=200))["items"]
        by_attachment = sorted(
            (item["addon_association_id"], item["price"]["amount"], item["start_date"], item["end_date"])
            for item in found
            if item["entity_type"] == "addon"
        )
        assert by_attachment == sorted(
            [
                (plain, "0.01", APRIL, MIDDLE),
                (plain, "0.008", MIDDLE, None),
                (own, "0.005", APRIL, None),
            ]
        )
        assert [amount for amount, _, _ in await lines(shop, without.subscription.id)] == ["10"]
        assert await sync(shop, "addons", addon["id"]) == (1, 0, 0)

    async def test_a_line_ends_with_its_attachment(self, shop: Shop) -> None:
        calls = await shop.feature()
        addon = await shop.addon(shop.usage(calls, "1"))
        made = await shop.subscribe(await shop.plan(fixed("10")))
        await attach(shop, made.subscription.id, addon["id"], cadence="onetime")
        await shop.on("2026-04-11")
        await shop.account.put(f"/prices/{addon['prices'][0]['id']}", {"amount": "2"})
        assert await sync(shop, "addons", addon["id"]) == (1, 1, 1)
        assert await lines(shop, made.subscription.id) == [
            ("1", APRIL, MIDDLE),
            ("10", APRIL, None),
            ("2", MIDDLE, MAY),
        ]

    async def test_fees_and_prices_that_do_not_fit_are_passed_over(self, shop: Shop) -> None:
        calls = await shop.feature()
        addon = await shop.addon(shop.usage(calls, "1"))
        made = await shop.subscribe(await shop.plan(fixed("10")))
        await attach(shop, made.subscription.id, addon["id"])
        owner = {"entity_type": "ADDON", "entity_id": addon["id"]}
        for price in (
            fixed("5"),
            shop.usage(await shop.feature("a"), "6", currency="eur"),
            shop.usage(await shop.feature("b"), "7", billing_period="WEEKLY"),
        ):
            await shop.account.post("/prices", {**price, **owner})
        assert await sync(shop, "addons", addon["id"]) == (1, 0, 0)

    async def test_pages_cover_everybody_once(self, shop: Shop) -> None:
        addon, plan = await shop.addon(shop.usage(await shop.feature(), "1")), await shop.plan(fixed("10"))
        for _ in range(3):
            await attach(shop, (await shop.subscribe(plan)).subscription.id, addon["id"])
        await shop.account.put(f"/prices/{addon['prices'][0]['id']}", {"amount": "2"})
        target = await shop.do(price_sync.target_sequence, addon["id"], PriceEntityType.ADDON)
        first: SyncCounts = await shop.do(addon_sync.sync_page, addon["id"], target, limit=2)
        assert (first.created, first.last_id is None) == (2, False)
        second: SyncCounts = await shop.do(addon_sync.sync_page, addon["id"], target, after=first.last_id, limit=2)
        assert (second.created, second.last_id) == (1, None)

    async def test_of_two_runs_at_once_each_line_item_is_made_once(self, shop: Shop) -> None:
        addon = await shop.addon(shop.usage(await shop.feature(), "1"))
        made = await shop.subscribe(await shop.plan(fixed("10")))
        await attach(shop, made.subscription.id, addon["id"])
        await shop.account.put(f"/prices/{addon['prices'][0]['id']}", {"amount": "2"})
        path = f"/addons/{addon['id']}/sync/subscriptions"
        answers = await asyncio.gather(*(shop.account.http.post(path) for _ in range(6)))
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len(await lines(shop, made.subscription.id)) == 3


async def test_a_stranger_and_a_reader_may_not(shop: Shop, stranger: Account) -> None:
    plan, addon = await shop.plan(shop.usage(await shop.feature(), "1")), await shop.addon(fixed("3"))
    reader = await shop.account.new_key(["event_ingestor"])
    for path in (f"/plans/{plan['id']}/sync/subscriptions", f"/addons/{addon['id']}/sync/subscriptions"):
        await stranger.post(path, expect=404)
        async with shop.account.client(reader) as http:
            assert (await http.post(path)).status_code == 403
    await shop.account.post("/plans/plan_none/sync/subscriptions", expect=404)
    await shop.account.post("/addons/addon_none/sync/subscriptions", expect=404)


async def test_the_published_client_synchronises(shop: Shop) -> None:
    calls = await shop.feature()
    plan, addon = await shop.plan(shop.usage(calls, "1")), await shop.addon(fixed("3"))
    made = await shop.subscribe(plan)
    await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "2"})
    client = shop.account.sdk()
    done = await client.plans.sync_plan_prices_async(id=plan["id"])
    assert isinstance(done, ModelsTemporalWorkflowResult)
    assert done.run_id
    assert len(await lines(shop, made.subscription.id)) == 2
    also = await client.addons.sync_addon_prices_async(id=addon["id"])
    assert also.workflow_id
