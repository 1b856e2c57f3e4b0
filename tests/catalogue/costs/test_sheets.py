"""Cost sheets over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.account import Account

SHEET = {"name": "Cloud bill", "lookup_key": "cloud", "description": "What we pay", "metadata": {"region": "eu"}}


async def sheet(account: Account, **change: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await account.post("/costs", {**SHEET, **change}))["costsheet"]
    return made


async def cost(account: Account, sheet_id: str, expect: int = 201) -> Any:
    feature = await account.http.post(
        "/features",
        json={
            "name": "Calls",
            "type": "metered",
            "lookup_key": "calls",
            "meter": {
                "name": "Calls",
                "event_name": "call",
                "aggregation": {"type": "COUNT"},
                "reset_usage": "BILLING_PERIOD",
            },
        },
    )
    meter_id = feature.json()["meter_id"] if feature.status_code == 201 else account.meter_id  # type: ignore[attr-defined]  # kept below
    account.meter_id = meter_id  # type: ignore[attr-defined]  # for a second cost of the same meter
    price = {
        "entity_type": "COSTSHEET", "entity_id": sheet_id, "type": "USAGE", "meter_id": meter_id, "currency": "usd",
        "billing_model": "FLAT_FEE", "billing_period": "MONTHLY", "invoice_cadence": "ARREAR",
        "price_unit_type": "FIAT", "amount": "0.002",
    }  # fmt: skip
    return await account.post("/prices", price, expect=expect)


async def test_a_sheet_comes_back_with_its_costs_bare_and_in_an_envelope(account: Account) -> None:
    made = await sheet(account)
    assert {name: made[name] for name in SHEET} == SHEET
    assert made["id"].startswith("cost_")
    await cost(account, made["id"])
    seen = await account.get(f"/costs/{made['id']}")
    assert [price["amount"] for price in seen["prices"]] == ["0.002"]
    assert seen["costsheet"]["prices"] == seen["prices"]
    assert {name: seen[name] for name in made} == made
    active = await account.get("/costs/active", expand="prices")
    assert active == seen["costsheet"]


async def test_a_meter_has_one_live_cost_on_a_sheet(account: Account) -> None:
    made = await sheet(account)
    await cost(account, made["id"])
    refused = await cost(account, made["id"], expect=400)
    assert refused["code"] in {"validation_error", "invalid_operation"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"name": ""}, id="an empty name"),
        pytest.param({"name": " "}, id="a blank name"),
        pytest.param({"name": "x" * 256}, id="a name that is too long"),
        pytest.param({"name": None}, id="no name"),
        pytest.param({"lookup_key": "x" * 256}, id="a key that is too long"),
        pytest.param({"metadata": {"a": 1}}, id="metadata that is not text"),
    ],
)
async def test_bad_sheets_are_refused(account: Account, change: dict[str, Any]) -> None:
    assert (await account.post("/costs", {**SHEET, **change}, expect=400))["code"] == "validation_error"


async def test_names_and_keys_are_used_once(account: Account) -> None:
    first = await sheet(account)
    for change, field in (({"lookup_key": "other"}, "name"), ({"name": "Other"}, "lookup_key")):
        refused = await account.post("/costs", {**SHEET, **change}, expect=409)
        assert (refused["code"], list(refused["details"])) == ("already_exists", [field])
    second = await sheet(account, name="Other", lookup_key="")
    await sheet(account, name="Third", lookup_key=None)
    refused = await account.put(f"/costs/{second['id']}", {"name": "Cloud bill"}, expect=409)
    assert refused["details"] == {"name": "Cloud bill"}
    await account.delete(f"/costs/{first['id']}", expect=200)
    assert (await account.put(f"/costs/{second['id']}", {"name": "Cloud bill"}))["costsheet"]["name"] == "Cloud bill"


async def test_of_many_creating_one_name_at_once_one_succeeds(account: Account) -> None:
    answers = await asyncio.gather(*(account.http.post("/costs", json=SHEET) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_the_newest_published_sheet_is_the_active_one(account: Account) -> None:
    await account.get("/costs/active", expect=404)
    first = await sheet(account)
    second = await sheet(account, name="Newer", lookup_key="newer")
    assert (await account.get("/costs/active"))["id"] == second["id"]
    await account.delete(f"/costs/{second['id']}", expect=200)
    assert (await account.get("/costs/active"))["id"] == first["id"]


async def test_a_deleted_sheet_is_gone(account: Account) -> None:
    path = f"/costs/{(await sheet(account))['id']}"
    answer = await account.delete(path, expect=200)
    assert answer["id"] == path.rpartition("/")[2]
    assert answer["message"]
    await account.get(path, expect=404)
    await account.put(path, {"name": "x"}, expect=404)
    assert (await account.delete(path, expect=400))["code"] == "invalid_operation"
    await account.delete("/costs/cost_none", expect=404)
    assert (await account.post("/costs/search", expect=200))["items"] == []


async def test_updates_keep_what_they_do_not_say(account: Account) -> None:
    made = await sheet(account)
    path = f"/costs/{made['id']}"
    changed = (await account.put(path, {"description": "New", "metadata": {"a": "b"}}))["costsheet"]
    assert changed["name"] == SHEET["name"]
    assert (changed["description"], changed["metadata"]) == ("New", {"a": "b"})
    assert (await account.put(path, {"lookup_key": ""}))["costsheet"]["lookup_key"] == ""
    await account.put(path, {"name": ""}, expect=400)


async def test_search(account: Account) -> None:
    first = await sheet(account)
    second = await sheet(account, name="Newer", lookup_key="newer")
    await cost(account, second["id"])

    async def found(**query: Any) -> list[str]:
        return [item["id"] for item in (await account.post("/costs/search", query, expect=200))["items"]]

    assert await found() == [second["id"], first["id"]]
    assert await found(costsheetIDs=[first["id"]]) == [first["id"]]
    assert await found(name="Newer") == [second["id"]]
    assert await found(lookupKey="cloud") == [first["id"]]
    assert await found(sort=[{"field": "name", "direction": "asc"}]) == [first["id"], second["id"]]
    assert await found(status="archived") == []
    assert await found(timeRangeFilter={"end_time": "2000-01-01T00:00:00Z"}) == []
    condition = {"field": "name", "operator": "contains", "data_type": "string", "value": {"string": "cloud"}}
    assert await found(filters=[condition]) == [first["id"]]
    page = await account.post(
        "/costs/search", {"queryFilter": {"limit": 1, "offset": 1, "expand": "prices"}}, expect=200
    )
    assert page["pagination"] == {"total": 2, "limit": 1, "offset": 1}
    assert [item["prices"] for item in page["items"]] == [[]]
    await account.post("/costs/search", {"queryFilter": {"limit": 1001}}, expect=400)
    await account.post("/costs/search", {"queryFilter": {"expand": "plans"}}, expect=400)


async def test_another_tenant_sees_and_changes_nothing(account: Account, stranger: Account) -> None:
    made = await sheet(account)
    path = f"/costs/{made['id']}"
    await stranger.get(path, expect=404)
    await stranger.get("/costs/active", expect=404)
    await stranger.put(path, {"name": "x"}, expect=404)
    await stranger.delete(path, expect=404)
    await cost(stranger, made["id"], expect=404)
    assert (await stranger.post("/costs/search", expect=200))["items"] == []
    await sheet(stranger)


async def test_the_published_client_does_every_operation(account: Account) -> None:
    sdk = account.sdk().costs
    made = (await sdk.create_costsheet_async(name="Mine", lookup_key="mine")).costsheet
    assert made is not None
    assert made.id is not None
    await cost(account, made.id)
    read = (await sdk.get_costsheet_async(id=made.id)).costsheet
    assert read is not None
    assert [price.amount for price in read.prices or []] == ["0.002"]
    assert (await sdk.get_active_costsheet_async()).id == made.id
    changed = (await sdk.update_costsheet_async(id=made.id, description="New")).costsheet
    assert changed is not None
    assert changed.description == "New"
    assert [item.id for item in (await sdk.query_costsheet_async(name="Mine")).items or []] == [made.id]
    assert (await sdk.delete_costsheet_async(id=made.id)).id == made.id
