"""Prices over HTTP: what may be asked for, how one is answered, how it is found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from farthing.catalogue.prices import references
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.core.money import plain
from farthing.rating.pricing.cost import price_quantity
from tests.account import Account
from tests.catalogue.prices.asking import TIERS_A, new_meter, new_plan, new_unit, price, quoted, usage

NOW = datetime(2025, 2, 1, tzinfo=UTC)


async def test_a_fixed_price_is_answered_whole(account: Account) -> None:
    plan = await new_plan(account)
    group = await account.post("/groups", {"name": "Base", "entity_type": "price", "lookup_key": "base"})
    asked = price(
        plan,
        currency="USD",
        amount="10.50",
        min_quantity=2,
        trial_period_days=14,
        group_id=group["id"],
        lookup_key="base",
    )
    made = await account.post("/prices", asked)
    expected = {
        "amount": "10.5",
        "display_amount": "$10.5",
        "currency": "usd",
        "billing_cadence": "RECURRING",
        "display_name": "Pro",
        "min_quantity": "2",
        "trial_period_days": 14,
        "meter_id": "",
        "transform_quantity": {"divide_by": 1},
        "metadata": {},
        "description": "",
        "price_unit_type": "FIAT",
        "lookup_key": "base",
    }
    assert {name: made[name] for name in expected} == expected
    assert made["group"]["id"] == group["id"]
    assert isinstance(made["sequence"], int)
    assert not {"tiers", "tier_mode", "end_date", "parent_price_id", "conversion_rate"} & made.keys()
    assert await account.get(f"/prices/{made['id']}") == made
    assert await account.get("/prices/lookup/base") == made


async def test_a_usage_price_carries_its_meter_and_its_name(account: Account) -> None:
    plan, meter = await new_plan(account), await new_meter(account)
    made = await account.post("/prices", usage(plan, meter))
    assert (made["display_name"], made["meter"]["id"]) == ("Tokens", meter)


async def test_a_meter_given_with_a_fixed_price_is_dropped(account: Account) -> None:
    plan, meter = await new_plan(account), await new_meter(account)
    assert (await account.post("/prices", price(plan, meter_id=meter)))["meter_id"] == ""
    refused = await account.post("/prices", price(plan, meter_id="meter_x"), expect=404)
    assert "meter_id" in refused["details"]


async def test_tiers_come_back_in_the_order_sent(account: Account) -> None:
    plan = await new_plan(account)
    tiers = [{"unit_amount": "3"}, {"up_to": 2**64 - 1, "unit_amount": "5.10", "flat_amount": 0}]
    made = await account.post("/prices", price(plan, billing_model="TIERED", tier_mode="SLAB", tiers=tiers))
    assert made["tiers"] == [{"unit_amount": "3"}, {"up_to": 2**64 - 1, "unit_amount": "5.1", "flat_amount": "0"}]
    assert (made["amount"], made["display_amount"]) == ("0", "$0")


@pytest.mark.parametrize(
    ("given", "quantity", "cost"),
    [
        pytest.param({"amount": "0.0035"}, "1234567", "4320.9845", id="a flat fee per unit"),
        pytest.param(
            {"billing_model": "PACKAGE", "amount": "2.5", "transform_quantity": {"divide_by": 100, "round": ""}},
            "100.0001",
            "5",
            id="a package begun counts unless told otherwise",
        ),
        pytest.param(
            {"billing_model": "PACKAGE", "amount": "2.5", "transform_quantity": {"divide_by": 100, "round": "down"}},
            "199",
            "2.5",
            id="rounding down, only full packages count",
        ),
        pytest.param(
            {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": list(reversed(TIERS_A))},
            "25",
            "105",
            id="slab tiers in any order",
        ),
        pytest.param(
            {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": TIERS_A},
            "10.000001",
            "40.000004",
            id="volume tiers",
        ),
        pytest.param(
            {
                "billing_model": "TIERED",
                "tier_mode": "SLAB",
                "tiers": [{"up_to": 100, "unit_amount": 1}, {"up_to": 200, "unit_amount": 0.5}],
            },
            "250",
            "175",
            id="without an open tier the last one is open",
        ),
        pytest.param(
            {
                "billing_model": "TIERED",
                "tier_mode": "VOLUME",
                "tiers": [
                    {"up_to": 1000, "unit_amount": "0", "flat_amount": "50"},
                    {"up_to": 5000, "unit_amount": "0", "flat_amount": "200"},
                    {"unit_amount": "0", "flat_amount": "350"},
                ],
            },
            "4500",
            "200",
            id="ranges with one price each",
        ),
    ],
)
async def test_a_stored_price_costs_what_was_asked(
    account: Account, given: dict[str, Any], quantity: str, cost: str
) -> None:
    plan = await new_plan(account)
    made = await account.post("/prices", price(plan, **given))
    async with account.transaction(read_only=True) as session:
        row = await session.get_one(Price, made["id"])
    assert plain(price_quantity(rated(row), Decimal(quantity))) == cost


TIERED = {"billing_model": "TIERED", "tier_mode": "SLAB"}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"entity_type": "PRICE"}, "entity_type", id="a price owns no price"),
        pytest.param({"currency": "us"}, "currency", id="a currency has three letters"),
        pytest.param({"amount": None}, "amount", id="a flat fee needs an amount"),
        pytest.param({"amount": "-1"}, "amount", id="an amount is not negative"),
        pytest.param({"amount": "0." + "0" * 15 + "1"}, "amount", id="an amount has 15 decimals at most"),
        pytest.param({"amount": "1" + "0" * 10}, "amount", id="an amount has 10 digits before the point at most"),
        pytest.param({"type": "USAGE", "meter_id": "m"}, "invoice_cadence", id="usage is charged in arrear"),
        pytest.param({"type": "USAGE", "invoice_cadence": "ARREAR"}, "meter_id", id="usage needs a meter"),
        pytest.param({"billing_period": "ONETIME", "invoice_cadence": "ARREAR"}, "invoice_cadence", id="once: advance"),
        pytest.param({"billing_period": "ONETIME", "trial_period_days": 1}, "trial_period_days", id="no trial of once"),
        pytest.param({"billing_model": "PACKAGE"}, "transform_quantity", id="a package has a size"),
        pytest.param(
            {"billing_model": "PACKAGE", "transform_quantity": {"round": "up"}},
            "transform_quantity",
            id="a size",
        ),
        pytest.param({"billing_model": "TIERED", "tiers": TIERS_A}, "tier_mode", id="tiers need a mode"),
        pytest.param({**TIERED}, "tiers", id="a tiered price has tiers"),
        pytest.param({**TIERED, "tiers": []}, "tiers", id="no tiers are none"),
        pytest.param(
            {**TIERED, "tiers": [{"up_to": 5, "unit_amount": 1}, {"up_to": 5, "unit_amount": 2}]},
            "tiers",
            id="bounds differ",
        ),
        pytest.param({**TIERED, "tiers": [{"unit_amount": 1}, {"unit_amount": 2}]}, "tiers", id="one open tier"),
        pytest.param({**TIERED, "tiers": [{"up_to": 0, "unit_amount": 1}]}, "tiers", id="a bound is at least 1"),
        pytest.param({"price_unit_type": "CUSTOM"}, "price_unit_config", id="custom needs a config"),
        pytest.param(
            {"price_unit_config": {"price_unit": "crd", "amount": "1"}}, "price_unit_config", id="fiat forbids a config"
        ),
        pytest.param(
            {"start_date": "2025-02-01T00:00:00Z", "end_date": "2025-01-01T00:00:00Z"},
            "end_date",
            id="no end before the start",
        ),
        pytest.param({"end_date": "2020-01-01T00:00:00Z"}, "end_date", id="no end before now either"),
        pytest.param({"metadata": {"hsn_sac": "12345"}}, "metadata.hsn_sac", id="hsn_sac has 4, 6 or 8 digits"),
        pytest.param({"group_id": "group_x"}, "group_id", id="the group must exist"),
    ],
)
async def test_a_price_that_makes_no_sense_is_refused(account: Account, given: dict[str, Any], field: str) -> None:
    refused = await account.post("/prices", price(await new_plan(account), **given), expect=400)
    assert refused["code"] == "validation_error"
    assert field in refused["details"], refused


@pytest.mark.parametrize(
    "broken",
    [
        {"billing_model": "FREE"},
        {"billing_period_count": 0},
        {"min_quantity": 1.5},
        {"start_date": "2025-01-01T00:00:00"},
        {"tiers": [{"up_to": 2**64, "unit_amount": "1"}]},
        {"tiers": [{"up_to": -1, "unit_amount": "1"}]},
        {"transform_quantity": {"divide_by": 0}},
        {"transform_quantity": {"divide_by": 1, "round": "half"}},
        {"amount": "NaN"},
        {"amount": "ten"},
        {"lookup_key": "x" * 256},
        {"metadata": {"a": 1}},
    ],
    ids=str,
)
async def test_a_malformed_price_is_refused(account: Account, broken: dict[str, Any]) -> None:
    refused = await account.post("/prices", price("plan_x", **broken), expect=400)
    assert refused["code"] == "validation_error"


async def test_an_unknown_owner_or_meter_is_not_found_and_an_archived_one_gets_no_price(account: Account) -> None:
    await account.post("/prices", price("plan_x"), expect=404)
    plan = await new_plan(account)
    await account.post("/prices", usage(plan, "meter_x"), expect=404)
    meter = await new_meter(account)
    await account.delete(f"/meters/{meter}", expect=200)
    assert (await account.post("/prices", usage(plan, meter), expect=400))["code"] == "invalid_operation"
    await account.delete(f"/plans/{plan}", expect=200)
    assert (await account.post("/prices", price(plan), expect=400))["code"] == "invalid_operation"


async def test_what_older_clients_send_or_leave_out_is_tolerated(account: Account) -> None:
    plan = await new_plan(account)
    asked = price(plan, filter_values={"a": ["b"]}, bucket_size="DAY")
    del asked["billing_period_count"], asked["price_unit_type"]
    made = await account.post("/prices", asked)
    assert (made["billing_period_count"], made["price_unit_type"]) == (1, "FIAT")


class TestBulk:
    async def test_all_or_none(self, account: Account) -> None:
        plan = await new_plan(account)
        made = await account.post("/prices/bulk", {"items": [price(plan, amount=n) for n in range(3)]})
        assert [item["amount"] for item in made["items"]] == ["0", "1", "2"]
        bad = {"items": [price(plan), price(plan, billing_model="TIERED")]}
        refused = await account.post("/prices/bulk", bad, expect=400)
        assert refused["details"].keys() == {"items[1].tier_mode"}
        taken = {"items": [price(plan, lookup_key="a"), price(plan, lookup_key="a")]}
        assert (await account.post("/prices/bulk", taken, expect=409))["details"] == {"lookup_key": "a"}
        assert (await account.get("/prices"))["pagination"]["total"] == 3

    @pytest.mark.parametrize("count", [0, 101])
    async def test_one_to_a_hundred(self, account: Account, count: int) -> None:
        await account.post("/prices/bulk", {"items": [price("plan_x")] * count}, expect=400)


async def test_an_owner_has_room_for_so_many_prices_whoever_comes_at_once(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "MOST_PRICES_OF_OWNER", 3)
    plan = await new_plan(account)
    ended = await account.post("/prices", price(plan))
    await account.delete(f"/prices/{ended['id']}", expect=200)
    answers = await asyncio.gather(*(account.http.post("/prices", json=price(plan)) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [400] * 3
    await account.post("/prices/bulk", {"items": [price(await new_plan(account))] * 4}, expect=400)


class TestLookupKeys:
    async def test_of_many_with_one_key_at_once_one_wins(self, account: Account) -> None:
        plan = await new_plan(account)
        asked = price(plan, lookup_key="race")
        answers = await asyncio.gather(*(account.http.post("/prices", json=asked) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7

    async def test_a_key_is_free_once_its_price_has_an_end(self, account: Account) -> None:
        plan = await new_plan(account)
        first = await account.post("/prices", price(plan, lookup_key="a"))
        await account.delete(f"/prices/{first['id']}", expect=200)
        await account.get("/prices/lookup/a", expect=404)
        second = await account.post("/prices", price(plan, lookup_key="a"))
        assert (await account.get("/prices/lookup/a"))["id"] == second["id"]

    async def test_changing_a_key_to_a_taken_one_is_a_conflict(self, account: Account) -> None:
        plan = await new_plan(account)
        await account.post("/prices", price(plan, lookup_key="a"))
        other = await account.post("/prices", price(plan))
        assert (await account.put(f"/prices/{other['id']}", {"lookup_key": "a"}, expect=409))[
            "code"
        ] == "already_exists"


class TestLists:
    async def test_ended_prices_are_hidden_and_future_ones_shown(self, account: Account) -> None:
        await account.freeze(NOW)
        plan = await new_plan(account)
        ended = await account.post(
            "/prices", price(plan, start_date="2025-01-01T00:00:00Z", end_date="2025-02-01T00:00:00Z")
        )
        bounded = await account.post("/prices", price(plan, end_date="2025-02-01T00:00:01Z"))
        future = await account.post("/prices", price(plan, start_date="2026-01-01T00:00:00Z"))

        async def found(**query: Any) -> set[str]:
            return {item["id"] for item in (await account.post("/prices/search", query, expect=200))["items"]}

        assert await found() == {bounded["id"], future["id"]}
        assert await found(allow_expired_prices=True) == {ended["id"], bounded["id"], future["id"]}
        assert await found(start_date_lt="2025-06-01T00:00:00Z") == {bounded["id"]}

    async def test_prices_are_found_by_what_they_belong_to(self, account: Account) -> None:
        plan, other, meter = await new_plan(account), await new_plan(account), await new_meter(account)
        fixed = await account.post("/prices", price(plan, billing_period="ANNUAL"))
        metered = await account.post("/prices", usage(other, meter))
        for query, expected in (
            ({"plan_ids": plan}, fixed),
            ({"entity_type": "PLAN", "entity_ids": other}, metered),
            ({"meter_ids": meter}, metered),
            ({"billing_periods": "ANNUAL,DAILY"}, fixed),
            ({"price_ids": fixed["id"]}, fixed),
        ):
            items = (await account.get("/prices", **query))["items"]
            assert [item["id"] for item in items] == [expected["id"]], query
        assert (await account.get("/prices", subscription_id="subs_x"))["items"] == []

    async def test_expansions_come_when_asked_for(self, account: Account) -> None:
        plan, meter = await new_plan(account), await new_meter(account)
        await account.post("/prices", usage(plan, meter))
        bare = (await account.get("/prices"))["items"][0]
        assert not {"meter", "plan"} & bare.keys()
        full = (await account.get("/prices", expand="meters,plan,priceunit,addons,groups"))["items"][0]
        assert (full["meter"]["id"], full["plan"]["name"]) == (meter, "Pro")
        await account.get("/prices", expand="customers", expect=400)


class TestUnits:
    async def test_a_quote_is_converted_once_and_unrounded(self, account: Account) -> None:
        plan = await new_plan(account)
        unit = await new_unit(account, conversion_rate="0.00333")
        config = {"price_unit": "crd", "amount": "3"}
        made = await account.post("/prices", quoted(plan, config))
        assert (made["amount"], made["price_unit_amount"], made["conversion_rate"]) == ("0.00999", "3", "0.00333")
        assert (made["display_amount"], made["display_price_unit_amount"]) == ("$0.00999", "¢3")
        assert (made["price_unit"], made["price_unit_id"], made["pricing_unit"]["id"]) == (
            "crd",
            unit["id"],
            unit["id"],
        )
        assert await account.get(f"/prices/{made['id']}") == made

    async def test_tiers_are_converted_with_their_flat_fees(self, account: Account) -> None:
        plan = await new_plan(account)
        await new_unit(account)
        tiers = [{"up_to": 10, "unit_amount": "5", "flat_amount": "100"}, {"unit_amount": "3"}]
        config = {"price_unit": "crd", "price_unit_tiers": tiers}
        made = await account.post("/prices", quoted(plan, config, **TIERED))
        assert made["tiers"] == [{"up_to": 10, "unit_amount": "0.05", "flat_amount": "1"}, {"unit_amount": "0.03"}]
        assert made["price_unit_tiers"] == tiers

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param({"price_unit_config": {"price_unit": "xxx", "amount": "1"}}, id="an unknown unit"),
            pytest.param({"price_unit_config": {"price_unit": "crd", "amount": "1"}, "currency": "eur"}, id="of eur"),
            pytest.param({"price_unit_config": {"price_unit": "crd"}}, id="no amount"),
            pytest.param({"price_unit_config": {"price_unit": "crd", "amount": "1"}, "amount": "1"}, id="two amounts"),
            pytest.param(
                {"price_unit_config": {"price_unit": "crd", "price_unit_tiers": TIERS_A}, "tiers": TIERS_A, **TIERED},
                id="two lists of tiers",
            ),
        ],
    )
    async def test_a_quote_that_makes_no_sense_is_refused(self, account: Account, given: dict[str, Any]) -> None:
        await new_unit(account)
        asked = price(await new_plan(account), **{"amount": None, "price_unit_type": "CUSTOM", **given})
        assert (await account.post("/prices", asked, expect=400))["code"] == "validation_error"

    async def test_a_unit_in_use_stays_and_its_worth_never_changes(self, account: Account) -> None:
        plan = await new_plan(account)
        unit = await new_unit(account)
        config = {"price_unit": "crd", "amount": "3"}
        made = await account.post("/prices", quoted(plan, config))
        refused = await account.delete(f"/prices/units/{unit['id']}", expect=400)
        assert (refused["code"], refused["details"]) == ("invalid_operation", {"prices": 1})
        changed = await account.put(f"/prices/units/{unit['id']}", {"name": "Point", "conversion_rate": "9"})
        assert (changed["name"], changed["conversion_rate"]) == ("Point", "0.01")
        await account.delete(f"/prices/{made['id']}", expect=200)
        answer = await account.delete(f"/prices/units/{unit['id']}", expect=200)
        assert answer == {"message": "Price unit deleted successfully"}
        await account.get("/prices/units/code/crd", expect=404)
        assert (await account.get(f"/prices/units/{unit['id']}"))["status"] == "archived"
        await account.put(f"/prices/units/{unit['id']}", {"name": "x"}, expect=400)
        await new_unit(account)

    @pytest.mark.parametrize(
        "given",
        [{"code": "cr"}, {"code": "cred"}, {"symbol": "x" * 11}, {"base_currency": "dollar"}, {"conversion_rate": "0"}],
        ids=str,
    )
    async def test_a_malformed_unit_is_refused(self, account: Account, given: dict[str, Any]) -> None:
        asked = {"name": "C", "code": "crd", "symbol": "c", "base_currency": "usd", "conversion_rate": "1", **given}
        assert (await account.post("/prices/units", asked, expect=400))["code"] == "validation_error"

    async def test_a_taken_code_is_a_conflict_and_lists_count_all(self, account: Account) -> None:
        await new_unit(account)
        again = {"name": "C", "code": "crd", "symbol": "c", "base_currency": "usd", "conversion_rate": "1"}
        assert (await account.post("/prices/units", again, expect=409))["code"] == "already_exists"
        await new_unit(account, code="two")
        page = await account.get("/prices/units", limit=1)
        assert page["pagination"] == {"total": 2, "limit": 1, "offset": 0}


async def test_a_stranger_sees_and_changes_nothing(account: Account, stranger: Account) -> None:
    plan, meter = await new_plan(account), await new_meter(account)
    unit = await new_unit(account)
    made = await account.post("/prices", price(plan, lookup_key="a"))
    for path in (f"/prices/{made['id']}", f"/prices/units/{unit['id']}"):
        await stranger.get(path, expect=404)
        await stranger.put(path, {"name": "x"}, expect=404)
        await stranger.delete(path, expect=404)
    await stranger.get("/prices/lookup/a", expect=404)
    await stranger.get("/prices/units/code/crd", expect=404)
    await stranger.post("/prices", price(plan), expect=404)
    await stranger.post("/prices", usage(await new_plan(stranger), meter), expect=404)
    assert (await stranger.get("/prices"))["items"] == []
    assert (await stranger.post("/prices/units/search", expect=200))["items"] == []


async def test_the_published_client_does_all_of_it(account: Account) -> None:
    plan = await new_plan(account)
    meter = await new_meter(account)
    async with account.sdk() as sdk:
        unit = await sdk.price_units.create_price_unit_async(
            name="Credit", code="crd", symbol="c", base_currency="USD", conversion_rate="0.01"
        )
        assert unit.id
        assert (await sdk.price_units.get_price_unit_by_code_async(code="crd")).conversion_rate == "0.01"
        assert (await sdk.price_units.get_price_unit_async(id=unit.id)).base_currency == "usd"
        assert (await sdk.price_units.list_price_units_async()).items
        assert (await sdk.price_units.query_price_unit_async()).pagination
        assert (await sdk.price_units.update_price_unit_async(id=unit.id, name="Point")).name == "Point"
        made = await sdk.prices.create_price_async(
            billing_model="TIERED",
            billing_period="MONTHLY",
            currency="USD",
            entity_id=plan,
            entity_type="PLAN",
            invoice_cadence="ARREAR",
            price_unit_type="FIAT",
            type_="USAGE",
            meter_id=meter,
            tier_mode="SLAB",
            tiers=[{"up_to": 10, "unit_amount": "5"}, {"unit_amount": "3", "flat_amount": "1"}],
            lookup_key="tokens",
        )
        assert made.id
        assert made.tiers
        assert (made.tiers[0].up_to, made.tiers[1].flat_amount) == (10, "1")
        bulk = await sdk.prices.create_prices_bulk_async(items=[price(plan)])
        assert bulk.items
        assert bulk.items[0].id
        assert (await sdk.prices.get_price_async(id=made.id)).meter
        assert (await sdk.prices.get_price_by_lookup_key_async(lookup_key="tokens")).id == made.id
        found = await sdk.prices.query_price_async(entity_ids=[plan], entity_type="PLAN", expand="meters,plan")
        assert found.items
        assert len(found.items) == 2
        version = await sdk.prices.update_price_async(
            id=bulk.items[0].id, amount="12", effective_from="2999-01-01T00:00:00Z"
        )
        assert (version.parent_price_id, version.amount) == (bulk.items[0].id, "12")
        assert (await sdk.prices.delete_price_async(id=made.id)).message
        assert (await sdk.price_units.delete_price_unit_async(id=unit.id)).message
