"""Coupons over HTTP: what may be created, what may change, who sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.account import Account

FIXED = {"name": "Ten off", "type": "fixed", "cadence": "forever", "amount_off": "10", "currency": "USD"}
PERCENTAGE = {"name": "A fifth", "type": "percentage", "cadence": "once", "percentage_off": "20"}


async def test_a_fixed_coupon_comes_back_as_stored(account: Account) -> None:
    made = await account.post(
        "/coupons", {**FIXED, "amount_off": 12.50, "coupon_code": "  WELCOME ", "rules": {"a": 1}}
    )
    assert made["amount_off"] == "12.5"
    assert made["percentage_off"] == "0"
    assert made["currency"] == "usd"
    assert made["coupon_code"] == "welcome"
    assert made["total_redemptions"] == 0
    assert made["rules"] == {"a": 1}
    assert made["metadata"] == {}
    assert made["status"] == "published"
    assert made["id"].startswith("coupon_")
    assert await account.get(f"/coupons/{made['id']}") == made
    assert await account.get("/coupons/code/WelCome") == made


async def test_a_percentage_coupon_has_no_currency(account: Account) -> None:
    made = await account.post("/coupons", {**PERCENTAGE, "currency": "EUR", "amount_off": "0"})
    assert (made["percentage_off"], made["amount_off"], made["currency"]) == ("20", "0", "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"type": "gift"}, "type", id="an unknown type"),
        pytest.param({"cadence": "twice"}, "cadence", id="an unknown cadence"),
        pytest.param({"name": ""}, "name", id="an empty name"),
        pytest.param({"name": "  "}, "name", id="a blank name"),
        pytest.param({"name": "x" * 256}, "name", id="a name that is too long"),
        pytest.param({"amount_off": "0"}, "amount_off", id="nothing off"),
        pytest.param({"amount_off": "-1"}, "amount_off", id="a surcharge"),
        pytest.param({"amount_off": None}, "amount_off", id="no amount"),
        pytest.param({"amount_off": "NaN"}, "amount_off", id="an amount that is no number"),
        pytest.param({"amount_off": "0.000000001"}, "amount_off", id="more decimals than are kept"),
        pytest.param({"amount_off": "1000000000000001"}, "amount_off", id="more digits than are kept"),
        pytest.param({"percentage_off": "5"}, "percentage_off", id="a fixed coupon with a percentage"),
        pytest.param({"currency": None}, "currency", id="a fixed coupon without a currency"),
        pytest.param({"currency": "dollars"}, "currency", id="a currency that is none"),
        pytest.param({"cadence": "repeated"}, "duration_in_periods", id="repeated without a duration"),
        pytest.param({"duration_in_periods": 3}, "duration_in_periods", id="a duration without repeated"),
        pytest.param(
            {"cadence": "repeated", "duration_in_periods": 0}, "duration_in_periods", id="repeated for no period"
        ),
        pytest.param({"max_redemptions": 0}, "max_redemptions", id="no redemptions"),
        pytest.param({"max_redemptions": 1_000_001}, "max_redemptions", id="too many redemptions"),
        pytest.param({"coupon_code": "x" * 101}, "coupon_code", id="a code that is too long"),
        pytest.param({"redeem_after": "2025-01-01T00:00:00"}, "redeem_after", id="a time without a zone"),
        pytest.param(
            {"redeem_after": "2025-02-01T00:00:00Z", "redeem_before": "2025-01-01T00:00:00Z"},
            "redeem_before",
            id="a window that ends before it starts",
        ),
        pytest.param({"metadata": {"k": 1}}, "metadata.k", id="metadata that is not text"),
        pytest.param({"rules": {"a": "x" * 20_000}}, "rules", id="rules that are very long"),
        pytest.param({"rules": []}, "rules", id="rules that are no object"),
    ],
)
async def test_bad_coupons_are_refused(account: Account, change: dict[str, Any], field: str) -> None:
    answer = await account.post("/coupons", {**FIXED, **change}, expect=400)
    assert answer["code"] == "validation_error"
    assert field in answer["details"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"percentage_off": "0"}, "percentage_off", id="zero percent"),
        pytest.param({"percentage_off": "100.0001"}, "percentage_off", id="more than everything"),
        pytest.param({"percentage_off": "0.00001"}, "percentage_off", id="more decimals than are kept"),
        pytest.param({"percentage_off": None}, "percentage_off", id="no percentage"),
        pytest.param({"amount_off": "5"}, "amount_off", id="a percentage coupon with an amount"),
    ],
)
async def test_bad_percentages_are_refused(account: Account, change: dict[str, Any], field: str) -> None:
    assert field in (await account.post("/coupons", {**PERCENTAGE, **change}, expect=400))["details"]


async def test_a_code_is_taken_once_whatever_its_case_and_free_again_when_archived(account: Account) -> None:
    first = await account.post("/coupons", {**FIXED, "coupon_code": "Spring"})
    refused = await account.post("/coupons", {**FIXED, "coupon_code": "SPRING"}, expect=409)
    assert refused["code"] == "already_exists"
    assert await account.delete(f"/coupons/{first['id']}", expect=200) == {"message": "Coupon deleted successfully"}
    await account.get("/coupons/code/spring", expect=404)
    second = await account.post("/coupons", {**FIXED, "coupon_code": "spring"})
    assert second["id"] != first["id"]


async def test_rules_hold_json_of_any_shape_but_no_number_that_json_cannot_say(account: Account) -> None:
    rules = {"plans": ["a", {"b": [1, 2.5, None, True]}], "note": "é"}
    assert (await account.post("/coupons", {**FIXED, "rules": rules}))["rules"] == rules
    body = b'{"name":"a","type":"percentage","cadence":"once","percentage_off":"5","rules":{"a":1e999}}'
    assert (await account.http.post("/coupons", content=body)).status_code == 400


async def test_of_many_creating_one_code_at_once_one_succeeds(account: Account) -> None:
    made = await asyncio.gather(
        *(account.http.post("/coupons", json={**FIXED, "coupon_code": "race"}) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in made) == [201] + [409] * 7


async def test_only_name_and_metadata_change(account: Account) -> None:
    made = await account.post("/coupons", {**FIXED, "metadata": {"a": "1", "b": "2"}})
    path = f"/coupons/{made['id']}"
    changed = await account.put(path, {"name": "New", "metadata": {"c": "3"}, "amount_off": "99"})
    assert (changed["name"], changed["metadata"], changed["amount_off"]) == ("New", {"c": "3"}, "10")
    assert (await account.put(path, {}))["name"] == "New"
    await account.put(path, {"name": ""}, expect=400)


async def test_an_archived_coupon_can_be_read_and_not_changed(account: Account) -> None:
    path = f"/coupons/{(await account.post('/coupons', FIXED))['id']}"
    await account.delete(path, expect=200)
    assert (await account.get(path))["status"] == "archived"
    assert (await account.put(path, {"name": "x"}, expect=400))["code"] == "invalid_operation"
    assert (await account.delete(path, expect=400))["code"] == "invalid_operation"


async def test_lists_filter_and_page(account: Account) -> None:
    codes = ["a1", "a2", "a3"]
    ids = [(await account.post("/coupons", {**FIXED, "coupon_code": code}))["id"] for code in codes]
    page = await account.get("/coupons", limit=2, offset=1)
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 1}
    assert [item["id"] for item in page["items"]] == [ids[1], ids[0]]
    found = await account.post("/coupons/search", {"coupon_codes": ["A2", "a3"]}, expect=200)
    assert {item["id"] for item in found["items"]} == {ids[1], ids[2]}
    assert (await account.post("/coupons/search", {"coupon_ids": [ids[0]]}, expect=200))["pagination"]["total"] == 1
    assert (await account.post("/coupons/search", expect=200))["pagination"]["total"] == 3
    condition = {"field": "amount_off", "operator": "gt", "data_type": "number", "value": {"number": "9"}}
    assert (await account.post("/coupons/search", {"filters": [condition]}, expect=200))["pagination"]["total"] == 3
    await account.post("/coupons/search", {"expand": "nonsense"}, expect=400)
    await account.get("/coupons", limit=1001, expect=400)


async def test_another_tenant_sees_and_changes_nothing(account: Account, stranger: Account) -> None:
    made = await account.post("/coupons", {**FIXED, "coupon_code": "mine"})
    path = f"/coupons/{made['id']}"
    await stranger.get(path, expect=404)
    await stranger.get("/coupons/code/mine", expect=404)
    await stranger.put(path, {"name": "x"}, expect=404)
    await stranger.delete(path, expect=404)
    assert (await stranger.get("/coupons"))["items"] == []
    await stranger.post("/coupons", {**FIXED, "coupon_code": "mine"})
    assert await account.get(path) == made


async def test_a_reader_cannot_write(account: Account) -> None:
    async with account.client(await account.new_key(["event_ingestor"])) as other:
        assert (await other.post("/coupons", json=FIXED)).status_code == 403


async def test_the_published_client_does_every_operation(account: Account) -> None:
    sdk = account.sdk()
    made = await sdk.coupons.create_coupon_async(
        name="Launch", type_="fixed", cadence="once", amount_off="5", currency="USD", coupon_code="LAUNCH"
    )
    assert made.id is not None
    assert (await sdk.coupons.get_coupon_async(id=made.id)).amount_off == "5"
    assert (await sdk.coupons.get_coupon_by_code_async(code="launch")).id == made.id
    assert (await sdk.coupons.update_coupon_async(id=made.id, name="Later")).name == "Later"
    found = await sdk.coupons.query_coupon_async(coupon_ids=[made.id])
    assert [item.name for item in found.items or []] == ["Later"]
    assert (await sdk.coupons.delete_coupon_async(id=made.id))["message"] == "Coupon deleted successfully"
