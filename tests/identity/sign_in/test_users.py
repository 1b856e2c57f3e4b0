"""People and service accounts."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from farthing.identity.tables import User
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.identity.conftest import new_user, person, token_of
from tests.waiting import until

RESERVED = "This action requires a user account with Super Admin access"


def email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


async def test_whoever_calls_sees_himself(account: Account) -> None:
    me = await account.get("/users/me")
    assert me["id"] == account.user_id
    assert me["type"] == "user"
    assert me["roles"] == ["super_admin"]
    assert me["metadata"] == {}
    assert me["tenant"]["id"] == account.tenant_id
    async with account.client(await account.new_key(["event_ingestor"])) as http:
        robot = (await http.get("/users/me")).json()
    assert (robot["type"], robot["roles"]) == ("service_account", ["event_ingestor"])


async def test_ones_own_metadata_is_merged_and_an_empty_name_ignored(account: Account) -> None:
    await account.put("/users/me", {"name": "Ada", "metadata": {"a": "1", "b": "2"}})
    me = await account.put("/users/me", {"name": "", "metadata": {"b": "3", "c": "4"}})
    assert (me["name"], me["metadata"]) == ("Ada", {"a": "1", "b": "3", "c": "4"})
    assert await account.get("/users/me") == me
    await account.put("/users/me", {"metadata": {str(number): "x" for number in range(48)}}, expect=400)


async def test_an_invited_person_signs_in_with_the_password_shown_once(
    account: Account, visitor: Callable[[], httpx.AsyncClient]
) -> None:
    address = email()
    made = await account.post("/users", {"type": "user", "email": address.upper(), "name": "Ada"})
    assert made["email"] == address
    assert made["roles"] == ["super_admin"]
    assert len(made["password"]) == 16
    async with visitor() as http:
        signed = await http.post("/auth/login", json={"email": address, "password": made["password"]})
    assert (signed.json()["user_id"], signed.json()["tenant_id"]) == (made["id"], account.tenant_id)
    found = await account.post("/users/search", {"type": "user", "user_ids": [made["id"]]}, expect=200)
    assert "password" not in found["items"][0]


@pytest.mark.parametrize(
    ("body", "details"),
    [
        pytest.param({"email": "a@example.com"}, {"type"}, id="a type is needed"),
        pytest.param({"type": "user"}, {"email"}, id="a person needs an email"),
        pytest.param({"type": "user", "email": "x"}, {"email"}, id="that is one"),
        pytest.param({"type": "user", "email": "a@example.com", "roles": []}, {"roles"}, id="and a role"),
        pytest.param(
            {"type": "user", "email": "a@example.com", "roles": ["event_ingestor"]},
            {"roles", "role", "user_type", "allowed_roles"},
            id="that people may hold",
        ),
        pytest.param(
            {"type": "user", "email": "a@example.com", "roles": ["super_admin", "all_reader"]},
            {"roles"},
            id="super_admin stands alone",
        ),
        pytest.param({"type": "service_account"}, {"roles"}, id="a service account needs roles"),
        pytest.param(
            {"type": "service_account", "roles": ["all_reader"]},
            {"roles", "role", "user_type", "allowed_roles"},
            id="that service accounts may hold",
        ),
        pytest.param(
            {"type": "service_account", "roles": ["king"]},
            {"roles", "role", "user_type", "allowed_roles"},
            id="that exist",
        ),
        pytest.param(
            {"type": "service_account", "roles": ["event_reader"], "email": "a@example.com"},
            {"email"},
            id="and no email",
        ),
    ],
)
async def test_a_user_who_cannot_be_made(account: Account, body: Any, details: set[str]) -> None:
    refused = await account.post("/users", body, expect=400)
    assert refused["code"] == "validation_error"
    assert set(refused["details"]) == details


async def test_the_refusal_of_a_role_says_which_are_right(account: Account) -> None:
    refused = await account.post("/users", {"type": "service_account", "roles": ["all_reader"]}, expect=400)
    assert refused["details"] == {
        "roles": "must be among super_admin, event_ingestor, event_reader; not 'all_reader'",
        "role": "all_reader",
        "user_type": "service_account",
        "allowed_roles": ["super_admin", "event_ingestor", "event_reader"],
    }


async def test_only_a_person_in_charge_invites_people(account: Account) -> None:
    body = {"type": "user", "email": email()}
    async with (
        account.client(await account.new_key(["super_admin"])) as service,
        await person(account, ["all_writer"]) as writer,
    ):
        for client in (service, writer):
            refused = await client.post("/users", json=body)
            assert (refused.status_code, refused.json()["message"]) == (403, RESERVED)


@pytest.mark.parametrize(
    ("holder", "granted", "status"),
    [
        ("super_admin", "super_admin", 201),
        ("super_admin", "event_ingestor", 201),
        ("all_writer", "event_ingestor", 201),
        ("all_writer", "event_reader", 201),
        ("all_writer", "super_admin", 403),
        ("all_reader", "event_reader", 403),
    ],
)
async def test_nobody_grants_what_he_does_not_hold(account: Account, holder: str, granted: str, status: int) -> None:
    async with await person(account, [holder]) as http:
        answer = await http.post("/users", json={"type": "service_account", "roles": [granted, granted]})
    assert answer.status_code == status
    if status == 201:
        assert answer.json()["roles"] == [granted]
        assert "email" not in answer.json()


async def test_an_email_is_taken_in_the_whole_deployment_until_its_person_is_removed(
    account: Account, stranger: Account
) -> None:
    address = email()
    made = await account.post("/users", {"type": "user", "email": address})
    for who in (account, stranger):
        taken = await who.post("/users", {"type": "user", "email": f" {address.upper()}"}, expect=409)
        assert taken["code"] == "already_exists"
        assert taken["details"] == {"email": address}
    await account.post(f"/users/{made['id']}/remove", expect=204)
    await stranger.post("/users", {"type": "user", "email": address})


async def test_people_are_limited_and_service_accounts_are_not_people(account: Account) -> None:
    for _ in range(9):
        await new_user(account, ["all_reader"])
        await account.post("/users", {"type": "service_account", "roles": ["event_reader"]})
    refused = await account.post("/users", {"type": "user", "email": email()}, expect=400)
    assert refused["code"] == "validation_error"
    assert refused["details"] == {"max_users": 10}
    await account.post("/users", {"type": "service_account", "roles": ["event_reader"]})


async def test_the_last_seat_is_taken_once(account: Account) -> None:
    for _ in range(8):
        await new_user(account, ["all_reader"])
    answers = await asyncio.gather(
        *(account.http.post("/users", json={"type": "user", "email": email()}) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]


async def test_service_accounts_are_renamed_and_people_are_not(account: Account) -> None:
    robot = await account.post("/users", {"type": "service_account", "name": "R2", "roles": ["event_reader"]})
    renamed = await account.put(f"/users/{robot['id']}", {"name": "D2"})
    assert (renamed["id"], renamed["name"]) == (robot["id"], "D2")
    await account.put(f"/users/{robot['id']}", {"name": ""}, expect=400)
    await account.put(f"/users/{robot['id']}", {}, expect=400)
    adult = (await new_user(account, ["all_reader"])).id
    refused = await account.put(f"/users/{adult}", {"name": "X"}, expect=404)
    unknown = await account.put("/users/user_unknown", {"name": "X"}, expect=404)
    assert str(unknown).replace("user_unknown", adult) == str(refused)
    await account.delete(f"/users/{robot['id']}")
    archived = await account.put(f"/users/{robot['id']}", {"name": "X"}, expect=400)
    assert archived["code"] == "invalid_operation"


async def test_roles_of_a_person_change_with_effect_at_once(account: Account) -> None:
    user = await new_user(account, ["all_reader"])
    changed = await account.put(f"/users/{user.id}/roles", {"roles": ["all_writer", "all_reader"]})
    assert changed["roles"] == ["all_writer", "all_reader"]
    async with account.client(headers={"Authorization": f"Bearer {await token_of(account, user.id)}"}) as http:
        assert (await http.put("/users/me", json={"name": "A"})).status_code == 200


async def test_who_may_not_have_his_roles_changed(account: Account) -> None:
    robot = await account.post("/users", {"type": "service_account", "roles": ["event_reader"]})
    await account.put(f"/users/{robot['id']}/roles", {"roles": ["event_ingestor"]}, expect=400)
    await account.put(f"/users/{account.user_id}/roles", {"roles": ["all_reader"]}, expect=403)
    user = (await new_user(account, ["all_reader"])).id
    await account.put(f"/users/{user}/roles", {"roles": []}, expect=400)
    await account.put(f"/users/{user}/roles", {"roles": ["event_reader"]}, expect=400)
    await account.put("/users/user_unknown/roles", {"roles": ["all_reader"]}, expect=404)
    for client in (account.client(await account.new_key(["super_admin"])), await person(account, ["all_writer"])):
        async with client as http:
            refused = await http.put(f"/users/{user}/roles", json={"roles": ["all_writer"]})
        assert (refused.status_code, refused.json()["message"]) == (403, RESERVED)


@pytest.mark.parametrize(
    ("path", "body"), [("remove", None), ("roles", {"roles": ["all_reader"]})], ids=["remove", "demote"]
)
async def test_of_two_in_charge_who_turn_on_each_other_at_once_one_stays(
    account: Account, path: str, body: Any
) -> None:
    people = [await new_user(account, ["super_admin"]) for _ in range(2)]
    headers = [
        {"Authorization": f"Bearer {await token_of(account, person.id)}", "X-Environment-ID": account.environment_id}
        for person in people
    ]
    method = "POST" if body is None else "PUT"
    async with account.client(headers=headers[0]) as one, account.client(headers=headers[1]) as other:
        async with account.database.transaction(SYSTEM) as holder:
            await holder.execute(select(User.id).where(User.tenant_id == account.tenant_id).with_for_update())
            changes = [
                asyncio.create_task(http.request(method, f"/users/{victim.id}/{path}", json=body))
                for http, victim in ((one, people[1]), (other, people[0]))
            ]
            await until(lambda: _both_wait(account))
        statuses = sorted([(await change).status_code for change in changes])
    assert statuses == [204 if body is None else 200, 403]


async def _both_wait(account: Account) -> bool:
    async with account.database.transaction(SYSTEM, read_only=True) as session:
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return (await session.scalar(waiting) or 0) >= 2


async def test_active_keys_in_any_environment_hold_a_person_in_place(account: Account) -> None:
    user = await new_user(account, ["all_writer"])
    other = await account.new_environment()
    made = []
    for environment in (account.environment_id, other):
        headers = {
            "Authorization": f"Bearer {await token_of(account, user.id)}",
            "X-Environment-ID": environment,
        }
        async with account.client(headers=headers) as http:
            answer = await http.post("/secrets/api/keys", json={"name": "k", "type": "private_key"})
            made.append(answer.json())
    expected = {
        "id": user.id,
        "active_api_key_count": 2,
        "active_api_keys": {
            account.environment_id: {
                "env_name": "Sandbox",
                "api_keys": [{"id": made[0]["secret"]["id"], "key_name": "k"}],
            },
            other: {"env_name": "Other", "api_keys": [{"id": made[1]["secret"]["id"], "key_name": "k"}]},
        },
    }
    demoted = {"roles": ["all_reader"]}
    async with await person(account) as in_charge:  # a key of one of two environments changes no roles
        held = (await in_charge.put(f"/users/{user.id}/roles", json=demoted)).json()
    assert (held["code"], held["details"]) == ("invalid_operation", expected)
    refused = await account.post(f"/users/{user.id}/remove", expect=400)
    assert refused["details"] == expected
    for holder in made:
        async with account.client(holder["api_key"]) as http:
            assert (await http.delete(f"/secrets/api/keys/{holder['secret']['id']}")).status_code == 204
    async with await person(account) as in_charge:
        assert (await in_charge.put(f"/users/{user.id}/roles", json=demoted)).status_code == 200
    await account.post(f"/users/{user.id}/remove", expect=204)


async def test_service_accounts_are_deleted_and_people_removed(account: Account) -> None:
    robot = await account.post("/users", {"type": "service_account", "roles": ["event_reader"]})
    user = (await new_user(account, ["all_reader"])).id
    await account.delete(f"/users/{user}", expect=400)
    await account.post(f"/users/{robot['id']}/remove", expect=400)
    await account.post(f"/users/{account.user_id}/remove", expect=403)
    key = await account.post(
        "/secrets/api/keys", {"name": "k", "type": "private_key", "service_account_id": robot["id"]}
    )
    held = await account.delete(f"/users/{robot['id']}", expect=400)
    assert held["details"]["active_api_key_count"] == 1
    await account.delete(f"/secrets/api/keys/{key['secret']['id']}")
    assert await account.delete(f"/users/{robot['id']}") is None
    await account.delete(f"/users/{robot['id']}", expect=400)
    token = await token_of(account, user)
    assert await account.post(f"/users/{user}/remove", expect=204) is None
    async with account.client(headers={"Authorization": f"Bearer {token}"}) as http:
        assert (await http.get("/users/me")).status_code == 401
    for client in (account.client(await account.new_key(["super_admin"])), await person(account, ["all_writer"])):
        async with client as http:
            refused = await http.post(f"/users/{user}/remove")
        assert (refused.status_code, refused.json()["message"]) == (403, RESERVED)


@pytest.fixture
async def crew(account: Account) -> dict[str, str]:
    """Two service accounts and a person, by name."""
    found = {}
    for name, roles in (("reader", ["event_reader"]), ("both", ["event_reader", "event_ingestor"])):
        made = await account.post("/users", {"type": "service_account", "name": name, "roles": roles})
        found[name] = made["id"]
    await account.put("/users/me", {"name": "owner"})
    return {**found, "owner": account.user_id}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(None, ["both", "reader"], id="no body finds service accounts, newest first"),
        pytest.param({}, ["both", "reader"], id="so does an empty one"),
        pytest.param({"type": "user"}, ["owner"], id="people when asked"),
        pytest.param({"roles": ["event_ingestor"]}, ["both"], id="by role"),
        pytest.param({"roles": ["event_ingestor", "event_reader"]}, ["both", "reader"], id="by any of some roles"),
        pytest.param({"roles": ["all_reader"]}, [], id="by a role nobody has"),
        pytest.param(
            {"filters": [{"field": "name", "operator": "eq", "data_type": "string", "value": {"string": "reader"}}]},
            ["reader"],
            id="by a condition",
        ),
        pytest.param({"sort": [{"field": "name", "direction": "desc"}]}, ["reader", "both"], id="sorted"),
        pytest.param({"limit": 1, "offset": 1}, ["reader"], id="by pages"),
        pytest.param({"status": "archived"}, [], id="published only, unless asked"),
    ],
)
async def test_users_are_found(account: Account, crew: dict[str, str], body: Any, expected: list[str]) -> None:
    found = await account.post("/users/search", body, expect=200)
    assert [item["name"] for item in found["items"]] == expected
    assert all(item["tenant"]["id"] == account.tenant_id for item in found["items"])


async def test_users_are_found_by_id_and_the_page_says_where_the_next_starts(
    account: Account, crew: dict[str, str]
) -> None:
    found = await account.post("/users/search", {"user_ids": [crew["reader"], crew["owner"]], "limit": 7}, expect=200)
    assert [item["id"] for item in found["items"]] == [crew["reader"]]
    assert found["pagination"] == {"total": 1, "limit": 7, "offset": 7}
    refused = await account.post(
        "/users/search", {"sort": [{"field": "password_hash", "direction": "asc"}]}, expect=400
    )
    assert "field" in refused["details"]
