"""Features, meters and groups over HTTP: what may be made, what may change, what stands in the way of an end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from farthing.catalogue.products import meters
from farthing.catalogue.products.tables import Feature
from farthing.storage.notices import Listener
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.waiting import PATIENCE_SECONDS, until

SUM = {"type": "SUM", "field": "tokens"}


def meter(**given: Any) -> dict[str, Any]:
    return {"name": "Tokens", "event_name": "call", "aggregation": SUM, "reset_usage": "BILLING_PERIOD", **given}


def metered(name: str = "Tokens", **given: Any) -> dict[str, Any]:
    return {"name": name, "type": "metered", "meter": meter(), **given}


class TestMeters:
    async def test_a_meter_answers_what_was_asked_and_no_environment(self, account: Account) -> None:
        filters = [{"key": "model", "values": ["b", "a", "b"]}, {"key": "model", "values": ["c"]}]
        asked = meter(event_name="  call ", filters=filters, aggregation={**SUM, "bucket_size": "15MIN"})
        made = await account.post("/meters", asked)
        assert made["event_name"] == "call"
        assert made["filters"] == [{"key": "model", "values": ["b", "a", "c"]}]
        assert made["aggregation"] == {"type": "SUM", "field": "tokens", "bucket_size": "15MIN"}
        assert "environment_id" not in made
        assert await account.get(f"/meters/{made['id']}") == made

    @pytest.mark.parametrize(
        ("aggregation", "field"),
        [
            pytest.param({"type": "SUM"}, "aggregation.field", id="a sum needs a field or an expression"),
            pytest.param(
                {"type": "COUNT_UNIQUE", "expression": "a"},
                "aggregation.expression",
                id="unique counts: no expression",
            ),
            pytest.param({**SUM, "expression": "a"}, "aggregation.expression", id="field excludes expression"),
            pytest.param(
                {"type": "SUM", "expression": "a +"}, "aggregation.expression", id="an expression must compile"
            ),
            pytest.param(
                {"type": "SUM_WITH_MULTIPLIER", "field": "a"}, "aggregation.multiplier", id="a multiplier is needed"
            ),
            pytest.param(
                {"type": "SUM_WITH_MULTIPLIER", "field": "a", "multiplier": "0"},
                "aggregation.multiplier",
                id="a multiplier is positive",
            ),
            pytest.param(
                {"type": "AVG", "field": "a", "bucket_size": "DAY"},
                "aggregation.bucket_size",
                id="no buckets of means",
            ),
            pytest.param({**SUM, "group_by": "x"}, "aggregation.group_by", id="only a bucketed maximum has groups"),
            pytest.param(
                {"type": "MAX", "field": "a", "bucket_size": "DAY", "group_by": "a-b"},
                "aggregation.group_by",
                id="a group name has no dash",
            ),
        ],
    )
    async def test_a_meter_that_cannot_measure_is_refused(
        self, account: Account, aggregation: dict[str, Any], field: str
    ) -> None:
        refused = await account.post("/meters", meter(aggregation=aggregation), expect=400)
        assert field in refused["details"]

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param({"event_name": "  "}, id="blank event name"),
            pytest.param({"filters": [{"key": "", "values": ["a"]}]}, id="filter without key"),
            pytest.param({"filters": [{"key": "a", "values": []}]}, id="filter without values"),
            pytest.param({"filters": [{"key": "a", "values": [1]}]}, id="filter value that is no text"),
            pytest.param({"reset_usage": "SOMETIMES"}, id="unknown reset"),
            pytest.param({"aggregation": {"type": "MEDIAN"}}, id="unknown aggregation"),
            pytest.param({"name": "x" * 256}, id="long name"),
        ],
    )
    async def test_a_malformed_meter_is_refused(self, account: Account, broken: dict[str, Any]) -> None:
        assert (await account.post("/meters", meter(**broken), expect=400))["code"] == "validation_error"

    async def test_filters_only_grow_and_keep_their_order(self, account: Account) -> None:
        made = await account.post("/meters", meter(filters=[{"key": "z", "values": ["2", "1"]}]))
        added = [{"key": "a", "values": ["x"]}, {"key": "z", "values": ["1", "3"]}]
        wider = await account.put(f"/meters/{made['id']}", {"filters": added})
        assert wider["filters"] == [{"key": "z", "values": ["2", "1", "3"]}, {"key": "a", "values": ["x"]}]
        await account.put(f"/meters/{made['id']}", {"filters": []}, expect=400)

    async def test_a_disabled_meter_can_be_read_and_not_changed(self, account: Account) -> None:
        made = await account.post("/meters", meter())
        answer = await account.post(f"/meters/{made['id']}/disable", expect=200)
        assert answer == {"message": "Meter disabled successfully"}
        assert (await account.get(f"/meters/{made['id']}"))["status"] == "archived"
        change = {"filters": [{"key": "a", "values": ["b"]}]}
        assert (await account.put(f"/meters/{made['id']}", change, expect=400))["code"] == "invalid_operation"
        assert (await account.delete(f"/meters/{made['id']}", expect=400))["code"] == "invalid_operation"

    async def test_meters_are_listed_by_event_name(self, account: Account) -> None:
        wanted = await account.post("/meters", meter(event_name="wanted"))
        await account.post("/meters", meter())
        found = await account.get("/meters", event_name="wanted")
        assert [item["id"] for item in found["items"]] == [wanted["id"]]
        assert found["pagination"] == {"total": 1, "limit": 50, "offset": 50}

    async def test_every_change_of_a_meter_reaches_other_processes(self, account: Account) -> None:
        heard: list[str | None] = []
        listener = Listener(account.database.url)
        listener.subscribe(meters.TOPIC, heard.append)
        await listener.start()
        try:
            await asyncio.wait_for(listener.connected.wait(), PATIENCE_SECONDS)
            heard.clear()
            made = await account.post("/meters", meter())
            await account.put(f"/meters/{made['id']}", {"filters": [{"key": "a", "values": ["b"]}]})
            await account.delete(f"/meters/{made['id']}", expect=200)

            async def is_heard() -> bool:
                return heard.count(account.environment_id) >= 3

            await until(is_heard)
        finally:
            await listener.stop()
        assert heard.count(account.environment_id) == 3


class TestFeatures:
    @pytest.mark.parametrize(
        ("name", "key"),
        [
            ("API Calls (v2)!", "api_calls_v2"),
            ("__a--b", "a_b"),
            ("Größe", "gr_e"),
        ],
    )
    async def test_a_key_is_made_of_the_name(self, account: Account, name: str, key: str) -> None:
        assert (await account.post("/features", {"name": name, "type": "boolean"}))["lookup_key"] == key

    async def test_a_name_without_letters_needs_a_key(self, account: Account) -> None:
        refused = await account.post("/features", {"name": "!!!", "type": "boolean"}, expect=400)
        assert "lookup_key" in refused["details"]

    async def test_a_metered_feature_brings_its_meter_and_answers_it(self, account: Account) -> None:
        group = await account.post("/groups", {"name": "AI", "entity_type": "feature", "lookup_key": "ai"})
        unit = {"unit_singular": "second", "unit_plural": "seconds", "conversion_rate": "0.001"}
        made = await account.post("/features", metered(group_id=group["id"], reporting_unit=unit))
        assert made["meter"]["id"] == made["meter_id"]
        assert made["group"]["entity_ids"] == []
        assert made["reporting_unit"] == {**unit, "conversion_rate": 0.001}
        assert await account.get(f"/features/{made['id']}") == made

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            pytest.param({"type": "metered"}, "meter", id="a metered feature needs a meter"),
            pytest.param({"unit_singular": "call"}, "unit_plural", id="both units or none"),
            pytest.param({"group_id": "group_x"}, "group_id", id="the group must exist"),
            pytest.param(
                {"reporting_unit": {"unit_singular": "s", "unit_plural": "s", "conversion_rate": "0"}},
                "reporting_unit.conversion_rate",
                id="a rate is positive",
            ),
            pytest.param({"metadata": {"": "a"}}, "metadata", id="a metadata key is not empty"),
        ],
    )
    async def test_a_feature_that_makes_no_sense_is_refused(
        self, account: Account, given: dict[str, Any], field: str
    ) -> None:
        refused = await account.post("/features", {"name": "A", "type": "boolean", **given}, expect=400)
        assert field in refused["details"], refused

    async def test_a_group_of_prices_takes_no_feature(self, account: Account) -> None:
        group = await account.post("/groups", {"name": "AI", "entity_type": "price", "lookup_key": "ai"})
        refused = await account.post("/features", {"name": "A", "type": "boolean", "group_id": group["id"]}, expect=400)
        assert refused["code"] == "validation_error"

    async def test_a_meter_has_at_most_one_published_feature(self, account: Account) -> None:
        first = await account.post("/features", metered("One"))
        second = {"name": "Two", "type": "metered", "meter_id": first["meter_id"]}
        refused = await account.post("/features", second, expect=400)
        assert refused["details"].keys() == {"meter_id"}

    async def test_of_many_with_one_key_at_once_one_wins(self, account: Account) -> None:
        asked = {"name": "Race", "type": "boolean"}
        answers = await asyncio.gather(*(account.http.post("/features", json=asked) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_exists"}

    async def test_archiving_frees_the_key_and_disables_the_meter(self, account: Account) -> None:
        made = await account.post("/features", metered())
        assert await account.delete(f"/features/{made['id']}", expect=200) == {
            "message": "feature deleted successfully"
        }
        assert (await account.get(f"/meters/{made['meter_id']}"))["status"] == "archived"
        assert (await account.get(f"/features/{made['id']}"))["status"] == "archived"
        again = await account.post("/features", metered())
        assert again["lookup_key"] == made["lookup_key"]
        assert (await account.delete(f"/features/{made['id']}", expect=400))["code"] == "invalid_operation"
        assert (await account.put(f"/features/{made['id']}", {"name": "x"}, expect=400))["code"] == "invalid_operation"

    async def test_a_feature_whose_meter_a_live_price_charges_by_stays(self, account: Account) -> None:
        made = await account.post("/features", metered())
        plan = await account.post("/plans", {"name": "Pro"})
        price = await account.post(
            "/prices",
            {
                "entity_type": "PLAN",
                "entity_id": plan["id"],
                "currency": "usd",
                "type": "USAGE",
                "billing_model": "FLAT_FEE",
                "billing_period": "MONTHLY",
                "invoice_cadence": "ARREAR",
                "price_unit_type": "FIAT",
                "amount": "0.01",
                "meter_id": made["meter_id"],
            },
        )
        refused = await account.delete(f"/features/{made['id']}", expect=400)
        assert (refused["code"], refused["details"]) == ("invalid_operation", {"prices": 1})
        await account.delete(f"/meters/{made['meter_id']}", expect=400)
        await account.delete(f"/prices/{price['id']}", expect=200)
        await account.delete(f"/features/{made['id']}", expect=200)

    async def test_an_update_keeps_what_it_does_not_name(self, account: Account) -> None:
        group = await account.post("/groups", {"name": "AI", "entity_type": "feature", "lookup_key": "ai"})
        made = await account.post(
            "/features", metered(metadata={"a": "1"}, unit_singular="t", unit_plural="ts", group_id=group["id"])
        )
        change = {"description": "d", "metadata": {"b": "2"}, "filters": [{"key": "k", "values": ["v"]}]}
        changed = await account.put(f"/features/{made['id']}", change)
        assert changed["metadata"] == {"b": "2"}
        assert (changed["name"], changed["unit_plural"]) == (made["name"], "ts")
        assert changed["meter"]["filters"] == [{"key": "k", "values": ["v"]}]
        assert changed["group_id"] == group["id"]
        assert "group_id" not in await account.put(f"/features/{made['id']}", {"group_id": ""})
        await account.put(f"/features/{made['id']}", {"unit_plural": ""}, expect=400)

    async def test_a_clone_has_a_meter_of_its_own_and_names_its_source(self, account: Account) -> None:
        made = await account.post("/features", metered(metadata={"a": "1", "b": "1"}))
        asked = {"name": "Copy", "lookup_key": "copy", "metadata": {"b": "2"}}
        copy = await account.post(f"/features/{made['id']}/clone", asked)
        assert copy["meter_id"] != made["meter_id"]
        assert copy["meter"]["aggregation"] == made["meter"]["aggregation"]
        assert copy["metadata"] == {"a": "1", "b": "2", "source_feature_id": made["id"]}
        await account.put(f"/features/{copy['id']}", {"filters": [{"key": "k", "values": ["v"]}]})
        assert (await account.get(f"/features/{made['id']}"))["meter"]["filters"] == []
        assert (await account.post(f"/features/{made['id']}/clone", asked, expect=409))["code"] == "already_exists"

    async def test_lists_show_archived_features_too_unless_told_otherwise(self, account: Account) -> None:
        kept = await account.post("/features", {"name": "Kept", "type": "static"})
        gone = await account.post("/features", {"name": "Gone", "type": "config"})
        await account.delete(f"/features/{gone['id']}", expect=200)

        async def names(**query: Any) -> list[str]:
            return [item["name"] for item in (await account.post("/features/search", query, expect=200))["items"]]

        assert await names() == ["Gone", "Kept"]
        assert await names(status="published") == ["Kept"]
        assert await names(status="archived") == ["Gone"]
        assert await names(name_contains="EP") == ["Kept"]
        assert await names(feature_ids=[kept["id"]]) == ["Kept"]
        assert await names(lookup_keys=["gone", "none"]) == ["Gone"]
        type_is = {"field": "type", "operator": "eq", "data_type": "string", "value": {"string": "static"}}
        assert await names(filters=[type_is]) == ["Kept"]

    async def test_meters_are_expanded_only_when_asked_for(self, account: Account) -> None:
        await account.post("/features", metered())
        assert "meter" not in (await account.get("/features"))["items"][0]
        assert "meter" in (await account.get("/features", expand="meters"))["items"][0]
        assert (await account.get("/features", expand="plans", expect=400))["details"]["field"] == "plans"

    async def test_each_change_of_a_feature_is_told(self, account: Account) -> None:
        made = await account.post("/features", metered())
        await account.put(f"/features/{made['id']}", {"name": "New"})
        await account.delete(f"/features/{made['id']}", expect=200)
        async with account.transaction(read_only=True) as session:
            told = (
                await session.scalars(
                    select(SystemEvent).where(SystemEvent.payload.is_not(None)).order_by(SystemEvent.id)
                )
            ).all()
        assert [payload.event_name for payload in told] == ["feature.created", "feature.updated", "feature.deleted"]
        created, updated = (event.payload or {} for event in told[:2])
        assert updated["feature"]["name"] == "New"
        assert created["feature"]["meter_id"] == made["meter_id"]


class TestAlerts:
    @pytest.mark.parametrize(
        "alerts",
        [
            pytest.param({"alert_enabled": True}, id="enabled without a threshold"),
            pytest.param({"warning": {"threshold": "1", "condition": "below"}}, id="warning without critical"),
            pytest.param(
                {
                    "critical": {"threshold": "1", "condition": "below"},
                    "info": {"threshold": "2", "condition": "above"},
                },
                id="two conditions",
            ),
            pytest.param(
                {
                    "critical": {"threshold": "10", "condition": "below"},
                    "warning": {"threshold": "9.99", "condition": "below"},
                },
                id="below: warning under critical",
            ),
            pytest.param(
                {
                    "critical": {"threshold": "10", "condition": "above"},
                    "info": {"threshold": "10.01", "condition": "above"},
                },
                id="above: info over critical",
            ),
        ],
    )
    async def test_settings_that_make_no_sense_are_refused(self, account: Account, alerts: dict[str, Any]) -> None:
        await account.post("/features", {"name": "A", "type": "boolean", "alert_settings": alerts}, expect=400)

    async def test_settings_are_merged_field_by_field_and_null_takes_away(self, account: Account) -> None:
        below = {"condition": "below"}
        first = {"critical": {"threshold": "10", **below}, "warning": {"threshold": 20, **below}}
        made = await account.post("/features", {"name": "A", "type": "boolean", "alert_settings": first})
        assert made["alert_settings"]["alert_enabled"] is False
        change = {"alert_settings": {"info": {"threshold": "50.0", **below}, "alert_enabled": True}}
        changed = await account.put(f"/features/{made['id']}", change)
        assert changed["alert_settings"] == {
            "alert_enabled": True,
            "critical": {"threshold": "10", **below},
            "warning": {"threshold": "20", **below},
            "info": {"threshold": "50", **below},
        }
        await account.put(f"/features/{made['id']}", {"alert_settings": {"critical": None}}, expect=400)
        fewer = await account.put(f"/features/{made['id']}", {"alert_settings": {"warning": None}})
        assert "warning" not in fewer["alert_settings"]


class TestGroups:
    async def test_deleting_a_group_lets_its_members_go(self, account: Account) -> None:
        group = await account.post("/groups", {"name": "AI", "entity_type": "feature", "lookup_key": "ai"})
        made = await account.post("/features", {"name": "A", "type": "boolean", "group_id": group["id"]})
        await account.delete(f"/groups/{group['id']}")
        assert "group_id" not in await account.get(f"/features/{made['id']}")
        assert (await account.get(f"/groups/{group['id']}"))["status"] == "archived"
        await account.post("/groups", {"name": "AI", "entity_type": "price", "lookup_key": "ai"})
        await account.delete(f"/groups/{group['id']}", expect=400)

    async def test_a_taken_key_is_refused_and_an_unknown_type_too(self, account: Account) -> None:
        asked = {"name": "AI", "entity_type": "feature", "lookup_key": "ai"}
        await account.post("/groups", asked)
        assert (await account.post("/groups", asked, expect=409))["details"] == {"lookup_key": "ai"}
        await account.post("/groups", {**asked, "entity_type": "plan"}, expect=400)

    async def test_groups_are_searched_by_their_fields(self, account: Account) -> None:
        one = await account.post("/groups", {"name": "One", "entity_type": "feature", "lookup_key": "one"})
        two = await account.post("/groups", {"name": "Two", "entity_type": "price", "lookup_key": "two"})
        for query, found in (
            ({"entity_type": "price"}, two),
            ({"name": "One"}, one),
            ({"lookup_key": "two"}, two),
            ({"group_ids": [one["id"]]}, one),
        ):
            items = (await account.post("/groups/search", query, expect=200))["items"]
            assert [item["id"] for item in items] == [found["id"]], query


async def test_a_stranger_and_another_environment_see_and_change_nothing(account: Account, stranger: Account) -> None:
    feature = await account.post("/features", metered())
    group = await account.post("/groups", {"name": "AI", "entity_type": "feature", "lookup_key": "ai"})
    other_key = await account.new_key(["all_writer"], environment_id=await account.new_environment())
    for client in (stranger.http, account.client(other_key)):
        for path in (f"/features/{feature['id']}", f"/meters/{feature['meter_id']}", f"/groups/{group['id']}"):
            assert (await client.get(path)).status_code == 404
            assert (await client.delete(path)).status_code == 404
        assert (await client.put(f"/features/{feature['id']}", json={"name": "x"})).status_code == 404
        clone = {"name": "x", "lookup_key": "x"}
        assert (await client.post(f"/features/{feature['id']}/clone", json=clone)).status_code == 404
        theirs = {"name": "Mine", "type": "metered", "meter_id": feature["meter_id"]}
        assert (await client.post("/features", json=theirs)).status_code == 404
        in_group = {"name": "Mine", "type": "boolean", "group_id": group["id"]}
        assert (await client.post("/features", json=in_group)).status_code == 400
        assert (await client.post("/features/search", json={})).json()["pagination"]["total"] == 0
        if client is not stranger.http:
            await client.aclose()
    assert (await account.get(f"/features/{feature['id']}"))["status"] == "published"


async def test_a_key_without_the_permission_is_refused(account: Account) -> None:
    async with account.client(await account.new_key(["event_ingestor"])) as client:
        answers: list[httpx.Response] = [
            await client.get("/features"),
            await client.post("/meters", json=meter()),
            await client.post("/groups/search", json={}),
        ]
    assert [answer.status_code for answer in answers] == [403] * 3


async def test_the_published_client_does_all_of_it(account: Account) -> None:
    async with account.sdk() as sdk:
        group = await sdk.groups.create_group_async(name="AI", entity_type="feature", lookup_key="ai")
        created = await sdk.features.create_feature_async(
            name="Tokens",
            type_="metered",
            meter=meter(filters=[{"key": "model", "values": ["a"]}]),
            group_id=group.id,
            reporting_unit={"unit_singular": "k", "unit_plural": "ks", "conversion_rate": 0.001},
            alert_settings={"critical": {"threshold": "1", "condition": "below"}, "alert_enabled": True},
        )
        assert created.id
        assert created.meter
        assert created.meter.filters
        updated = await sdk.features.update_feature_async(id=created.id, name="More tokens")
        assert updated.name == "More tokens"
        cloned = await sdk.features.clone_feature_async(id=created.id, name="Copy", lookup_key="copy")
        found = await sdk.features.query_feature_async(feature_ids=[created.id], expand="meters")
        assert found.items
        assert found.items[0].reporting_unit
        assert found.items[0].reporting_unit.conversion_rate == pytest.approx(0.001)
        assert cloned.id
        assert (await sdk.features.delete_feature_async(id=cloned.id)).message
        assert (await sdk.groups.get_group_async(id=group.id or "")).lookup_key == "ai"
        assert (await sdk.groups.query_group_async(entity_type="feature")).pagination
        await sdk.groups.delete_group_async(id=group.id or "")
    async with account.transaction(read_only=True) as session:
        assert (await session.get_one(Feature, created.id)).group_id is None
