"""Subscriptions over HTTP: what the published client sees, what a stranger does not, and what the floors below ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text

from farthing.customers.tables import Customer
from farthing.storage.tables import Base
from farthing.subscriptions import roll_forward
from farthing.subscriptions.enums import CancellationType
from farthing.subscriptions.lifecycle import cancellation
from farthing.subscriptions.lifecycle.cancellation import CancelSubscriptionRequest
from farthing.subscriptions.reads import live
from farthing.subscriptions.snapshot.loading import load
from farthing.subscriptions.tables import Subscription
from tests.account import Account
from tests.subscriptions.shop import Shop, at, fixed


class TestSearch:
    async def test_filters(self, shop: Shop) -> None:
        plan, other = await shop.plan(fixed("1")), await shop.plan(fixed("2"), name="Other")
        customer = await shop.customer("ann")
        mine = await shop.subscribe(plan, customer)
        await shop.subscribe(other, trial_period_days=5)
        for body in (
            {"customer_id": customer["id"]},
            {"external_customer_id": "ann"},
            {"plan_id": plan["id"]},
            {"subscription_status": ["active"]},
            {"subscription_ids": [mine.subscription.id]},
            {"effective_date_for_update": "2026-05-01T00:00:00Z"},
            {"filters": [{"field": "customer_id", "operator": "eq", "data_type": "string",
                          "value": {"string": customer["id"]}}]},
        ):  # fmt: skip
            found = await shop.account.post("/subscriptions/search", body, expect=200)
            assert mine.subscription.id in [item["id"] for item in found["items"]], body
            if "effective_date_for_update" not in body:
                assert found["pagination"]["total"] == 1, body
        listed = await shop.account.get("/subscriptions", subscription_status="trialing,paused", limit=1)
        assert listed["pagination"] == {"total": 1, "limit": 1, "offset": 1}

    async def test_expansions(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(shop.usage(await shop.feature(), "1")))
        path = f"/subscriptions/{made.subscription.id}/v2"
        bare = await shop.account.get(path)
        assert not {"plan", "customer", "line_items"} & bare.keys()
        whole = await shop.account.get(
            path, expand="plan.prices,customer,subscription_line_items.prices,meters,schedule"
        )
        assert whole["plan"]["prices"][0]["amount"] == "1"
        assert whole["line_items"][0]["price"]["amount"] == "1"
        assert whole["line_items"][0]["meter"]["event_name"] == "calls"
        await shop.account.get(path, expect=400, expand="invoices")

    async def test_the_published_client_reads_it(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1.50")), trial_period_days=5)
        client = shop.account.sdk()
        one = await client.subscriptions.get_subscription_async(id=made.subscription.id)
        assert one.id == made.subscription.id
        assert one.trial_end == at("2026-04-06")
        assert one.line_items is not None
        assert one.line_items[0].quantity == "1"
        found = await client.subscriptions.query_subscription_async(limit=5)
        assert [item.id for item in found.items or []] == [made.subscription.id]
        items = await client.subscriptions.query_subscription_line_items_async(subscription_ids=[made.subscription.id])
        assert len(items.items or []) == 1
        await client.subscriptions.get_subscription_entitlements_async(id=made.subscription.id)
        await client.subscriptions.get_subscription_addon_associations_async(id=made.subscription.id)


class TestUpdate:
    async def test_absent_keeps(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        path = f"/subscriptions/{made.subscription.id}"
        await shop.account.put(path, {"cancel_at_period_end": True})
        read = await shop.account.put(path, {})
        assert read["cancel_at_period_end"] is True
        assert read["cancel_at"] == "2026-05-01T00:00:00Z"

    async def test_an_end_with_the_period_is_called_off_with_its_schedule(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        request = CancelSubscriptionRequest(cancellation_type=CancellationType.END_OF_PERIOD)
        await shop.do(cancellation.cancel, made.subscription.id, request, shop.now)
        read = await shop.account.put(f"/subscriptions/{made.subscription.id}", {"cancel_at_period_end": False})
        assert "cancelled_at" not in read
        assert read["cancel_at"] is None
        assert (await shop.account.get("/subscriptions/schedules", pending_only=True))["count"] == 0

    @pytest.mark.parametrize("status", ["draft", "trialing", "paused", "incomplete"])
    async def test_states_have_operations_of_their_own(self, shop: Shop, status: str) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        refused = await shop.account.put(f"/subscriptions/{made.subscription.id}", {"status": status}, expect=400)
        assert refused["code"] == "invalid_operation"

    async def test_a_parent_is_set_and_cleared(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        parent, child = await shop.subscribe(plan), await shop.subscribe(plan)
        path = f"/subscriptions/{child.subscription.id}"
        read = await shop.account.put(path, {"parent_subscription_id": parent.subscription.id})
        assert read["parent_subscription_id"] == parent.subscription.id
        read = await shop.account.put(path, {"parent_subscription_id": ""})
        assert "parent_subscription_id" not in read
        await shop.account.put(path, {"parent_subscription_id": child.subscription.id}, expect=400)


class TestScope:
    async def test_a_stranger_sees_and_changes_nothing(self, shop: Shop, stranger: Account) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        id = made.subscription.id
        for path in ("", "/v2", "/entitlements", "/pauses", "/addons/associations", "/schedules"):
            await stranger.get(f"/subscriptions/{id}{path}", expect=404)
        await stranger.put(f"/subscriptions/{id}", {"cancel_at_period_end": True}, expect=404)
        assert (await stranger.post("/subscriptions/search", {}, expect=200))["items"] == []
        assert (await stranger.post("/subscriptions/lineitems/search", {}, expect=200))["items"] == []
        async with stranger.transaction(read_only=True) as session:
            assert await load(session, [id]) == []
            for table in ("subscriptions", "subscription_line_items", "subscription_schedules"):
                assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0

    async def test_another_environment_sees_nothing(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        key = await shop.account.new_key(["super_admin"], environment_id=await shop.account.new_environment())
        async with shop.account.client(key) as client:
            assert (await client.get(f"/subscriptions/{made.subscription.id}")).status_code == 404

    async def test_a_key_that_only_reads_cannot_write(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        key = await shop.account.new_key(["event_ingestor"])
        async with shop.account.client(key) as client:
            assert (await client.get(f"/subscriptions/{made.subscription.id}")).status_code == 403

    async def test_other_spellings_of_schedules(self, shop: Shop) -> None:
        await shop.account.get("/subscription-schedules")
        await shop.account.get("/v1/subscription-schedules")
        await shop.account.get("/subscriptions/schedules/sched_x", expect=404)
        await shop.account.get("/v1/subscription-schedules/sched_x", expect=404)
        await shop.account.post("/v1/subscriptions/schedules/sched_x/cancel", expect=404)


class TestFloorsBelow:
    async def test_live_currencies_show_in_the_summary_of_owner_and_payer(self, shop: Shop) -> None:
        payer, owner = await shop.customer("payer"), await shop.customer("owner")
        made = await shop.subscribe(
            await shop.plan(fixed("1")), owner, inheritance={"invoicing_customer_external_id": "payer"}
        )
        seen: dict[tuple[str, str], list[str]] = {}
        for who in (payer, owner):
            for scope in ("all", "billed", "incurred"):
                found = await shop.account.get(f"/customers/{who['id']}/invoices/summary", scope=scope)
                seen[who["external_id"], scope] = [row["currency"] for row in found["summaries"]]
        assert seen == {
            ("payer", "all"): ["usd"], ("payer", "billed"): ["usd"], ("payer", "incurred"): [],
            ("owner", "all"): ["usd"], ("owner", "billed"): [], ("owner", "incurred"): ["usd"],
        }  # fmt: skip
        for who in (payer, owner):
            refused = await shop.account.delete(f"/customers/{who['id']}", expect=400)
            assert "cancel all subscriptions" in refused["message"]
        await shop.account.put(f"/subscriptions/{made.subscription.id}", {"status": "cancelled"})
        found = await shop.account.get(f"/customers/{owner['id']}/invoices/summary")
        assert found["summaries"] == []
        await shop.account.delete(f"/customers/{payer['id']}")

    async def test_a_plan_in_use_stays(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        made = await shop.subscribe(plan)
        refused = await shop.account.delete(f"/plans/{plan['id']}", expect=400)
        assert "subscription" in str(refused)
        await shop.account.put(f"/subscriptions/{made.subscription.id}", {"status": "cancelled"})
        await shop.account.delete(f"/plans/{plan['id']}", expect=200)

    async def test_the_live_currencies_come_from_the_indexes(self, shop: Shop) -> None:
        """Among 4000 subscriptions of 1000 customers, each question reads its own index."""
        await shop.subscribe(await shop.plan(fixed("1")))
        async with shop.account.transaction() as session:
            await session.execute(copied(Customer, 1000, id="'cust_copy_' || n", external_id="'copy-' || n"))
            await session.execute(
                copied(Subscription, 4000, id="'subs_' || n", customer_id="'cust_copy_' || n % 1000 + 1")
            )
            await session.execute(text("ANALYZE subscriptions"))
            for query, index in ((live.INCURRED, "ix_subscriptions_incurred"), (live.PAID, "ix_subscriptions_paid")):
                statement = text("EXPLAIN " + query.replace("$1", ":id"))
                plan = "\n".join((await session.execute(statement, {"id": "cust_copy_7"})).scalars())
                assert index in plan
            found = await session.execute(text(live.EITHER.replace("$1", ":id")), {"id": "cust_copy_7"})
            assert len(found.all()) == 4


def copied(table: type[Base], times: int, **changed: str) -> Any:
    """SQL that copies the one row of a table `times` times, with some columns made of the number `n`."""
    names = [column.name for column in table.__table__.columns if column.computed is None]
    values = ", ".join(changed.get(name, f'"{name}"') for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    name = table.__tablename__
    return text(f"INSERT INTO {name} ({listed}) SELECT {values} FROM {name}, generate_series(1, {times}) AS n")


class TestMany:
    async def test_snapshots_of_many_cost_a_fixed_number_of_statements(self, shop: Shop) -> None:
        feature = await shop.feature()
        plan = await shop.plan(fixed("1"), shop.usage(feature, "0.5"))
        addon = await shop.addon(fixed("3"))
        made = [(await shop.subscribe(plan, addons=[{"addon_id": addon["id"]}])).subscription.id for _ in range(6)]
        counts = []
        for ids in (made[:1], made):
            statements: list[str] = []

            def count(*arguments: Any, statements: list[str] = statements) -> None:
                statements.append(str(arguments[2]))

            engine = shop.account.database.engine.sync_engine
            async with shop.account.transaction() as session:
                await session.execute(text("SELECT 1"))
                event.listen(engine, "before_cursor_execute", count)
                try:
                    snapshots = await load(session, ids)
                finally:
                    event.remove(engine, "before_cursor_execute", count)
            assert [snapshot.id for snapshot in snapshots] == ids
            assert all(len(snapshot.items) == 3 for snapshot in snapshots)
            counts.append(len(statements))
        assert counts[0] == counts[1] <= 9

    async def test_two_runs_at_once_roll_each_subscription_once(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        made = {(await shop.subscribe(plan)).subscription.id for _ in range(4)}
        await shop.on("2026-05-01")

        async def run() -> list[str]:
            billed = []
            for _, id in await shop.do(roll_forward.due, shop.now, 100):

                async def one(session: Any, id: str = id) -> list[str]:
                    row = await roll_forward.lock_due(session, id, shop.now)
                    if row is None:
                        return []
                    return [
                        each.subscription_id
                        for each in (await roll_forward.advance_to(session, row, shop.now)).billables
                    ]

                billed += await shop.do(one)
            return billed

        first, second = await asyncio.gather(run(), run())
        assert sorted(first + second) == sorted(made)

    async def test_due_pages_by_key(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        made = {(await shop.subscribe(plan)).subscription.id for _ in range(3)}
        await shop.on("2026-05-01")
        found, after = [], None
        while page := await shop.do(roll_forward.due, shop.now, 1, after):
            found += page
            after = page[-1]
        assert {id for _, id in found} == made
