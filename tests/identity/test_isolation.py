"""What is not yours does not exist: an unknown id and a foreign one answer the same bytes but for the id."""

from __future__ import annotations

from typing import Any

import pytest

from tests.account import Account

UNKNOWN = "unknown_01JF0Z0000000000000000000"


async def same_as_unknown(account: Account, method: str, path: str, foreign: str, body: Any = None) -> None:
    answers = {id: await account.http.request(method, path.format(id=id), json=body) for id in (foreign, UNKNOWN)}
    assert answers[UNKNOWN].status_code == 404
    assert answers[foreign].status_code == 404
    assert answers[foreign].text.replace(foreign, UNKNOWN) == answers[UNKNOWN].text
    assert answers[UNKNOWN].json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/environments/{id}", None),
        ("PUT", "/environments/{id}", {"name": "Mine"}),
    ],
)
async def test_environments_of_other_tenants(
    account: Account, stranger: Account, method: str, path: str, body: Any
) -> None:
    await same_as_unknown(account, method, path, stranger.environment_id, body)
    assert (await stranger.get(f"/environments/{stranger.environment_id}"))["name"] == "Sandbox"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/users/{id}", {"name": "Mine"}),
        ("PUT", "/users/{id}/roles", {"roles": ["all_reader"]}),
        ("DELETE", "/users/{id}", None),
        ("POST", "/users/{id}/remove", None),
    ],
)
async def test_users_of_other_tenants(account: Account, stranger: Account, method: str, path: str, body: Any) -> None:
    await same_as_unknown(account, method, path, stranger.user_id, body)
    robot = await stranger.post("/users", {"type": "service_account", "name": "R", "roles": ["event_reader"]})
    await same_as_unknown(account, method, path, robot["id"], body)
    kept = await stranger.post("/users/search", {}, expect=200)
    assert [(item["id"], item["name"]) for item in kept["items"]] == [(robot["id"], "R")]


async def test_keys_of_other_tenants_and_environments(account: Account, stranger: Account) -> None:
    other = await account.new_environment()
    async with account.client(await account.new_key(["super_admin"], environment_id=other)) as http:
        elsewhere = (await http.get("/secrets/api/keys")).json()["items"][0]["id"]
    foreign = (await stranger.get("/secrets/api/keys"))["items"][0]["id"]
    for id in (elsewhere, foreign):
        await same_as_unknown(account, "DELETE", "/secrets/api/keys/{id}", id)
    await stranger.get("/users/me")


async def test_lists_show_only_what_is_ones_own(account: Account, stranger: Account) -> None:
    assert [e["id"] for e in (await account.get("/environments"))["environments"]] == [account.environment_id]
    found = await account.post("/users/search", {"type": "user"}, expect=200)
    assert [user["id"] for user in found["items"]] == [account.user_id]
    found = await account.post("/users/search", {"type": "user", "user_ids": [stranger.user_id]}, expect=200)
    assert found["items"] == []
    assert (await account.get("/secrets/api/keys"))["pagination"]["total"] == 1


async def test_settings_of_one_environment_are_not_anothers(account: Account, stranger: Account) -> None:
    other = await account.new_environment()
    await account.put("/settings/subscription_config", {"value": {"grace_period_days": 9}})
    async with account.client(await account.new_key(["super_admin"], environment_id=other)) as http:
        elsewhere = (await http.get("/settings/subscription_config")).json()
    abroad = await stranger.get("/settings/subscription_config")
    assert elsewhere["value"]["grace_period_days"] == abroad["value"]["grace_period_days"] == 3
