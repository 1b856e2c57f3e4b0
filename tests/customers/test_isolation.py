"""Nobody sees or touches customers of another tenant or environment, nor without the right to."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.account import Account
from tests.customers.conftest import new_customer

BY_ID = [
    pytest.param("GET", "/customers/{}", None, id="read"),
    pytest.param("PUT", "/customers/{}", {"name": "X"}, id="update"),
    pytest.param("PUT", "/customers?id={}", {"name": "X"}, id="update by query"),
    pytest.param("DELETE", "/customers/{}", None, id="archive"),
]
BY_EXTERNAL_ID = [
    pytest.param("GET", "/customers/external/{}", None, id="read by external id"),
    pytest.param("GET", "/customers/lookup/{}", None, id="read by lookup key"),
    pytest.param("PUT", "/customers?external_customer_id={}", {"name": "X"}, id="update by external id"),
    pytest.param("GET", "/customers/portal/{}", None, id="portal session"),
    pytest.param("POST", "/customers/portal/{}", None, id="portal session by POST"),
]


async def refusal(http: httpx.AsyncClient, method: str, path: str, key: str, body: Any) -> tuple[int, str]:
    """The status and body of an answer, with the id asked for taken out."""
    answer = await http.request(method, path.format(key), json=body)
    return answer.status_code, answer.text.replace(key, "?")


@pytest.mark.parametrize(("method", "path", "body"), BY_ID)
async def test_a_foreign_id_answers_like_an_unknown_one(
    account: Account, stranger: Account, method: str, path: str, body: Any
) -> None:
    theirs = await new_customer(stranger)
    second = account.client(await account.new_key(["super_admin"], environment_id=await account.new_environment()))
    async with second:
        elsewhere = (await second.post("/customers", json={"external_id": "acme", "name": "Acme"})).json()
    unknown = await refusal(account.http, method, path, "cust_00000000000000000000000000", body)
    assert unknown[0] == 404
    for foreign in (theirs, elsewhere):
        assert await refusal(account.http, method, path, foreign["id"], body) == unknown
    assert await stranger.get(f"/customers/{theirs['id']}") == theirs


@pytest.mark.parametrize(("method", "path", "body"), BY_EXTERNAL_ID)
async def test_a_foreign_external_id_answers_like_an_unknown_one(
    account: Account, stranger: Account, method: str, path: str, body: Any
) -> None:
    theirs = await new_customer(stranger, "theirs")
    unknown = await refusal(account.http, method, path, "nobody", body)
    assert unknown[0] == 404
    assert await refusal(account.http, method, path, "theirs", body) == unknown
    assert await stranger.get(f"/customers/{theirs['id']}") == theirs


async def test_lists_hold_only_the_environments_own(account: Account, stranger: Account) -> None:
    theirs = await new_customer(stranger, "theirs", metadata={"a": "b"})
    async with account.client(
        await account.new_key(["super_admin"], environment_id=await account.new_environment())
    ) as second:
        assert (await second.post("/customers", json={"external_id": "elsewhere", "name": "E"})).status_code == 201
    mine = await new_customer(account)
    searches: list[dict[str, Any]] = [{}, {"customer_ids": [mine["id"], theirs["id"]]}, {"status": "published"}]
    for search in searches:
        answer = await account.post("/customers/search", search, expect=200)
        assert [customer["id"] for customer in answer["items"]] == [mine["id"]]
        assert answer["pagination"]["total"] == 1
    assert (await account.post("/customers/search", {"metadata": {"a": "b"}}, expect=200))["items"] == []


async def test_the_same_external_id_lives_once_in_each_environment(account: Account, stranger: Account) -> None:
    await new_customer(account)
    await new_customer(stranger)
    async with account.client(
        await account.new_key(["super_admin"], environment_id=await account.new_environment())
    ) as second:
        assert (await second.post("/customers", json={"external_id": "acme", "name": "A"})).status_code == 201
        assert (await second.post("/customers", json={"external_id": "acme", "name": "A"})).status_code == 409


EVERY_ROUTE = [*BY_ID, *BY_EXTERNAL_ID]


@pytest.mark.parametrize(("method", "path", "body"), EVERY_ROUTE)
async def test_only_credentials_with_the_right_get_in(account: Account, method: str, path: str, body: Any) -> None:
    made = await new_customer(account)
    key = "acme" if "external" in path or "lookup" in path or "portal" in path else made["id"]
    async with account.client() as anonymous:
        assert (await refusal(anonymous, method, path, key, body))[0] == 401
    for role in ("event_ingestor", "event_reader"):
        async with account.client(await account.new_key([role])) as ingestor:
            assert (await refusal(ingestor, method, path, key, body))[0] == 403
    assert await account.get(f"/customers/{made['id']}") == made


async def test_a_reader_reads_and_does_not_write(account: Account) -> None:
    made = await new_customer(account)
    async with account.client(await account.new_key(["all_reader"])) as reader:
        assert (await reader.get(f"/customers/{made['id']}")).status_code == 200
        assert (await reader.post("/customers/search", json={})).status_code == 200
        assert (await reader.get("/customers")).status_code == 200
        for answer in (
            await reader.post("/customers", json={"external_id": "x", "name": "X"}),
            await reader.put(f"/customers/{made['id']}", json={"name": "X"}),
            await reader.delete(f"/customers/{made['id']}"),
            await reader.get("/customers/portal/acme"),
        ):
            assert answer.status_code == 403
            assert answer.json()["message"] == "insufficient permissions"
