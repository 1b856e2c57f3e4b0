"""Tax rates over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.account import Account
from tests.invoices.desk import Desk, fixed

VAT = {"name": "VAT", "code": "vat_19", "tax_rate_type": "percentage", "percentage_value": "19"}
STAMP = {"name": "Stamp duty", "code": "stamp", "tax_rate_type": "fixed", "fixed_value": "1.50"}


async def test_a_rate_comes_back_as_stored(account: Account) -> None:
    made = await account.post("/taxes/rates", {**VAT, "percentage_value": 8.875, "metadata": {"country": "us"}})
    assert made["percentage_value"] == "8.875"
    assert "fixed_value" not in made
    assert (made["tax_rate_status"], made["scope"], made["description"]) == ("ACTIVE", "INTERNAL", "")
    assert made["id"].startswith("taxrate_")
    assert await account.get(f"/taxes/rates/{made['id']}") == made
    fixed = await account.post("/taxes/rates", STAMP)
    assert (fixed["fixed_value"], "percentage_value" in fixed) == ("1.5", False)


async def test_without_a_type_a_rate_is_a_percentage(account: Account) -> None:
    made = await account.post("/taxes/rates", {"name": "Sales tax", "code": "s", "percentage_value": "0"})
    assert (made["tax_rate_type"], made["percentage_value"]) == ("percentage", "0")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({**VAT, "percentage_value": "100.01"}, "percentage_value", id="more than everything"),
        pytest.param({**VAT, "percentage_value": "-1"}, "percentage_value", id="a negative percentage"),
        pytest.param({**VAT, "percentage_value": None}, "percentage_value", id="no percentage"),
        pytest.param({**VAT, "percentage_value": "1.0000001"}, "percentage_value", id="more decimals than are kept"),
        pytest.param({**VAT, "fixed_value": "1"}, "fixed_value", id="a percentage with an amount"),
        pytest.param({**STAMP, "percentage_value": "1"}, "percentage_value", id="an amount with a percentage"),
        pytest.param({**STAMP, "fixed_value": "-0.01"}, "fixed_value", id="a negative amount"),
        pytest.param({**STAMP, "fixed_value": None}, "fixed_value", id="no amount"),
        pytest.param({**VAT, "tax_rate_type": "flat"}, "tax_rate_type", id="an unknown type"),
        pytest.param({**VAT, "scope": "internal"}, "scope", id="an unknown scope"),
        pytest.param({**VAT, "code": " "}, "code", id="a blank code"),
        pytest.param({**VAT, "name": None}, "name", id="no name"),
    ],
)
async def test_bad_rates_are_refused(account: Account, body: dict[str, Any], field: str) -> None:
    assert field in (await account.post("/taxes/rates", body, expect=400))["details"]


async def test_a_code_is_taken_once_in_each_case_of_letters_and_free_when_archived(account: Account) -> None:
    made = await account.post("/taxes/rates", VAT)
    assert (await account.post("/taxes/rates", VAT, expect=409))["code"] == "already_exists"
    await account.post("/taxes/rates", {**VAT, "code": "VAT_19"})
    await account.delete(f"/taxes/rates/{made['id']}")
    await account.post("/taxes/rates", VAT)


async def test_of_many_creating_one_code_at_once_one_succeeds(account: Account) -> None:
    answers = await asyncio.gather(*(account.http.post("/taxes/rates", json=VAT) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_an_unused_rate_changes_but_for_its_figure(account: Account) -> None:
    path = f"/taxes/rates/{(await account.post('/taxes/rates', VAT))['id']}"
    change = {"name": "N", "code": "c", "description": "d", "metadata": {"k": "v"}, "tax_rate_status": "INACTIVE"}
    changed = await account.put(path, {**change, "percentage_value": "7"})
    assert {name: changed[name] for name in change} == change
    assert changed["percentage_value"] == "19"
    other = await account.post("/taxes/rates", {**VAT, "code": "taken"})
    assert other["id"]
    assert (await account.put(path, {"code": "taken"}, expect=409))["code"] == "already_exists"
    await account.put(path, {"code": ""}, expect=400)


async def test_an_associated_rate_neither_changes_nor_goes(account: Account) -> None:
    path = f"/taxes/rates/{(await account.post('/taxes/rates', VAT))['id']}"
    of_tenant = {"tax_rate_code": "vat_19", "entity_type": "tenant", "entity_id": account.tenant_id}
    association = await account.post("/taxes/associations", of_tenant, expect=200)
    assert (await account.put(path, {"name": "x"}, expect=400))["code"] == "invalid_operation"
    assert (await account.delete(path, expect=400))["code"] == "invalid_operation"
    await account.delete(f"/taxes/associations/{association['id']}", expect=200)
    await account.put(path, {"name": "x"})
    await account.delete(path)
    assert (await account.get(path))["status"] == "archived"
    assert (await account.put(path, {"name": "y"}, expect=400))["code"] == "invalid_operation"
    assert (await account.delete(path, expect=400))["code"] == "invalid_operation"


async def test_a_rate_that_was_charged_does_not_change(account: Account) -> None:
    made = await account.post("/taxes/rates", VAT)
    path = f"/taxes/rates/{made['id']}"
    await Desk(account).invoice([fixed("100")], tax_rates=[made["id"]])
    for change in ({"name": "x"}, {"code": "x"}):
        assert (await account.put(path, change, expect=400))["code"] == "invalid_operation"
    await account.delete(path)


async def test_lists_filter_and_page(account: Account) -> None:
    ids = [
        (await account.post("/taxes/rates", {**VAT, "code": code, "scope": scope}))["id"]
        for code, scope in (("a", "INTERNAL"), ("b", "EXTERNAL"), ("c", "ONETIME"))
    ]
    page = await account.get("/taxes/rates", limit=2)
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 2}
    assert [item["id"] for item in page["items"]] == [ids[2], ids[1]]
    assert [item["code"] for item in (await account.get("/taxes/rates", taxrate_codes="a,c"))["items"]] == ["c", "a"]
    assert [item["code"] for item in (await account.get("/taxes/rates", taxrate_ids=ids[0]))["items"]] == ["a"]
    assert [item["code"] for item in (await account.get("/taxes/rates", scope="EXTERNAL"))["items"]] == ["b"]
    assert [item["code"] for item in (await account.get("/taxes/rates", code="c"))["items"]] == ["c"]
    await account.get("/taxes/rates", scope="NONE", expect=400)


async def test_another_tenant_sees_and_changes_nothing(account: Account, stranger: Account) -> None:
    made = await account.post("/taxes/rates", VAT)
    path = f"/taxes/rates/{made['id']}"
    await stranger.get(path, expect=404)
    await stranger.put(path, {"name": "x"}, expect=404)
    await stranger.delete(path, expect=404)
    assert (await stranger.get("/taxes/rates"))["items"] == []
    of_tenant = {"tax_rate_code": "vat_19", "entity_type": "tenant", "entity_id": stranger.tenant_id}
    await stranger.post("/taxes/associations", of_tenant, expect=404)
    await stranger.post("/taxes/rates", VAT)
    assert await account.get(path) == made


async def test_the_published_client_does_every_operation(account: Account) -> None:
    sdk = account.sdk()
    made = await sdk.tax_rates.create_tax_rate_async(code="gst", name="GST", percentage_value="18")
    assert made.id is not None
    assert (await sdk.tax_rates.get_tax_rate_async(id=made.id)).percentage_value == "18"
    assert (await sdk.tax_rates.update_tax_rate_async(id=made.id, name="Goods tax")).name == "Goods tax"
    found = await sdk.tax_rates.get_tax_rates_async(taxrate_codes=["gst"], limit=10)
    assert [item.name for item in found.items or []] == ["Goods tax"]
    await sdk.tax_rates.delete_tax_rate_async(id=made.id)
    assert (await account.get(f"/taxes/rates/{made.id}"))["status"] == "archived"
