"""Line items of living subscriptions: added, changed, ended, and in other quantities."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from farthing.core.errors import InvalidOperation, ValidationFailed, VersionConflict
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.item_changes import ItemAction
from farthing.subscriptions.line_items import revise
from farthing.subscriptions.line_items.revise import QuantityWanted
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.schemas.requests import (
    AddAddonToSubscriptionRequest,
    CreateSubscriptionLineItemRequest,
    DeleteSubscriptionLineItemRequest,
    RemoveAddonRequest,
    UpdateSubscriptionLineItemRequest,
)
from farthing.subscriptions.snapshot.loading import load_one
from tests.subscriptions.shop import Shop, at, fixed, of_wire


async def item_of(shop: Shop, made: Outcome) -> dict[str, Any]:
    items: list[dict[str, Any]] = (await shop.read(made))["line_items"]
    return items[0]


async def spans(shop: Shop, made: Outcome, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(item[name] for name in fields) for item in (await shop.read(made))["line_items"]]


class TestQuantity:
    async def test_another_quantity_is_another_version(self, shop: Shop) -> None:
        """P3: seats from 5 to 10."""
        plan = await shop.plan(fixed("10"))
        made = await shop.subscribe(plan, override_line_items=[{"price_id": plan["prices"][0]["id"], "quantity": "5"}])
        item = await item_of(shop, made)
        await shop.on("2026-04-11")
        wanted = [QuantityWanted(item["id"], Decimal(10))]
        done = await shop.do(revise.change_quantities, made.subscription.id, wanted, shop.now)
        assert await spans(shop, made, "quantity", "start_date", "end_date") == [
            ("5", "2026-04-01T00:00:00Z", "2026-04-11T00:00:00Z"), ("10", "2026-04-11T00:00:00Z", None),
        ]  # fmt: skip
        (change,) = done.changes
        assert (change.action, change.at) == (ItemAction.QUANTITY, at("2026-04-11"))
        assert (change.before.quantity, change.after.quantity) == (5, 10)

    async def test_the_same_quantity_changes_nothing(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")))
        item = await item_of(shop, made)
        wanted = [QuantityWanted(item["id"], Decimal(1))]
        done = await shop.do(revise.change_quantities, made.subscription.id, wanted, shop.now)
        assert done.changes == ()
        assert (await shop.read(made))["version"] == 1

    async def test_what_is_planned_is_what_is_done(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")))
        item = await item_of(shop, made)
        wanted = [QuantityWanted(item["id"], Decimal(3), at("2026-04-20"))]
        snapshot = await shop.do(load_one, made.subscription.id)
        planned = revise.planned_quantities(snapshot, wanted, shop.now)
        done = await shop.do(revise.change_quantities, made.subscription.id, wanted, shop.now)
        assert [(change.key, change.at, change.before) for change in planned] == [
            (change.key, change.at, change.before) for change in done.changes
        ]

    @pytest.mark.parametrize(
        ("quantity", "moment"),
        [
            pytest.param("2", "2026-05-01", id="after the period"),
            pytest.param("2", "2026-03-31", id="before the period"),
        ],
    )
    async def test_outside_the_period_is_refused(self, shop: Shop, quantity: str, moment: str) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")))
        item = await item_of(shop, made)
        wanted = [QuantityWanted(item["id"], Decimal(quantity), at(moment))]
        with pytest.raises(ValidationFailed):
            await shop.do(revise.change_quantities, made.subscription.id, wanted, shop.now)

    async def test_two_changes_at_once_follow_one_another(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")))
        item = await item_of(shop, made)
        await shop.on("2026-04-11")
        outcomes = await asyncio.gather(
            *(
                shop.do(
                    revise.change_quantities, made.subscription.id, [QuantityWanted(item["id"], Decimal(n))], shop.now
                )
                for n in (2, 3, 4)
            ),
            return_exceptions=True,
        )
        succeeded = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
        assert len(succeeded) == 1
        assert all(isinstance(outcome, (Outcome, VersionConflict)) for outcome in outcomes)
        assert len(await spans(shop, made, "quantity")) == 2
        assert (await shop.read(made))["version"] == 2


class TestTerms:
    async def test_another_price_is_another_version(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        item = await item_of(shop, made)
        await shop.on("2026-04-11")
        request = of_wire(UpdateSubscriptionLineItemRequest, {"amount": "130"})
        await shop.do(revise.update, item["id"], request, shop.now)
        read = await shop.read(made)
        assert [(line_item["price"]["amount"], line_item["end_date"]) for line_item in read["line_items"]] == [
            ("100", "2026-04-11T00:00:00Z"),
            ("130", None),
        ]
        assert read["line_items"][1]["price"]["parent_price_id"] == item["price_id"]

    async def test_metadata_changes_in_place(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        item = await item_of(shop, made)
        request = of_wire(UpdateSubscriptionLineItemRequest, {"metadata": {"team": "a"}})
        await shop.do(revise.update, item["id"], request, shop.now)
        changed = await item_of(shop, made)
        assert (changed["id"], changed["metadata"]) == (item["id"], {"team": "a"})

    async def test_what_is_invoiced_stays(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")), start_date="2026-04-01T00:00:00Z")
        item = await item_of(shop, made)
        request = of_wire(UpdateSubscriptionLineItemRequest, {"amount": "1", "effective_from": "2026-03-15T00:00:00Z"})
        with pytest.raises(ValidationFailed):
            await shop.do(revise.update, item["id"], request, shop.now)

    async def test_a_moment_without_a_change_is_refused(self) -> None:
        with pytest.raises(ValidationFailed, match="only allowed"):
            of_wire(UpdateSubscriptionLineItemRequest, {"effective_from": "2026-04-15T00:00:00Z"})


class TestAddingAndEnding:
    async def test_an_item_with_a_price_of_its_own(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        await shop.on("2026-04-11")
        price = {name: value for name, value in fixed("20").items() if name != "currency"}
        request = of_wire(
            CreateSubscriptionLineItemRequest, {"price": price, "proration_behavior": "create_prorations"}
        )
        item, done = await shop.do(revise.add, made.subscription.id, request, shop.now)
        assert (item.start_date, item.entity_type) == (at("2026-04-11"), "subscription")
        (change,) = done.changes
        assert (change.action, change.at, done.proration) == (ItemAction.ADD, at("2026-04-11"), "create_prorations")

    async def test_once_only(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        price = {**fixed("20", billing_period="ONETIME")}
        del price["currency"]
        request = of_wire(CreateSubscriptionLineItemRequest, {"price": price})
        item, _ = await shop.do(revise.add, made.subscription.id, request, shop.now)
        assert (item.end_date - item.start_date).total_seconds() == 1
        with pytest.raises(InvalidOperation):
            await shop.do(revise.end, item.id, DeleteSubscriptionLineItemRequest(), shop.now)

    async def test_an_end_can_only_move_earlier(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        item = await item_of(shop, made)

        async def end(moment: str) -> Outcome:
            request = of_wire(DeleteSubscriptionLineItemRequest, {"effective_from": f"{moment}T00:00:00Z"})
            _, done = await shop.do(revise.end, item["id"], request, shop.now)
            assert isinstance(done, Outcome)
            return done

        assert len((await end("2026-04-20")).changes) == 1
        with pytest.raises(InvalidOperation):
            await end("2026-04-25")
        assert (await end("2026-04-10")).changes == ()  # it had an end: no credit

    async def test_addons_come_and_go(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        addon = await shop.addon(fixed("3"))
        await shop.on("2026-04-11")
        association, done = await shop.do(
            lifecycle.add, made.subscription.id, AddAddonToSubscriptionRequest(addon_id=addon["id"]), shop.now
        )
        assert [change.action for change in done.changes] == [ItemAction.ADD]
        refused = await shop.account.http.delete(f"/addons/{addon['id']}")
        assert refused.status_code == 400
        _, gone = await shop.do(lifecycle.remove, RemoveAddonRequest(addon_association_id=association.id), shop.now)
        assert gone.at == at("2026-05-01")
        assert [change.action for change in gone.changes] == [ItemAction.REMOVE]
        with pytest.raises(InvalidOperation):
            await shop.do(lifecycle.remove, RemoveAddonRequest(addon_association_id=association.id), shop.now)

    async def test_one_that_awaits_its_payment_charges_nothing(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("100")))
        addon = await shop.addon(fixed("3"))
        request = AddAddonToSubscriptionRequest(addon_id=addon["id"])
        association, _ = await shop.do(lifecycle.add, made.subscription.id, request, shop.now, awaiting_payment=True)
        assert len((await shop.read(made))["line_items"]) == 1
        with pytest.raises(Exception, match="waits for its payment"):
            await shop.do(lifecycle.add, made.subscription.id, request, shop.now, awaiting_payment=True)
        await shop.do(lifecycle.settle_pending, association.id, paid=True, now=shop.now)
        assert len((await shop.read(made))["line_items"]) == 2

    async def test_two_reset_periods_of_one_feature_do_not_go_together(self, shop: Shop) -> None:
        feature = await shop.feature()
        plan, addon = await shop.plan(shop.usage(feature, "1")), await shop.addon(fixed("3"))
        for owner, reset in ((("PLAN", plan["id"]), "MONTHLY"), (("ADDON", addon["id"]), "DAILY")):
            await shop.account.post(
                "/entitlements",
                {
                    "entity_type": owner[0], "entity_id": owner[1], "feature_id": feature["id"],
                    "feature_type": "metered", "usage_limit": 10, "usage_reset_period": reset,
                },
            )  # fmt: skip
        made = await shop.subscribe(plan)
        with pytest.raises(ValidationFailed):
            await shop.do(
                lifecycle.add, made.subscription.id, AddAddonToSubscriptionRequest(addon_id=addon["id"]), shop.now
            )
