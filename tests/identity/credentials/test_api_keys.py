"""The life of an API key."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.credentials import keys
from farthing.identity.credentials.api_keys import record_used
from farthing.identity.tables import Secret, SecretType, User, UserType
from farthing.storage.scope import SYSTEM, Scope
from farthing.storage.stored_answers import StoredAnswer
from tests.account import Account
from tests.identity.conftest import new_user, person
from tests.waiting import until_waited_for

KEYS = "/secrets/api/keys"


async def status_with(account: Account, key: str) -> int:
    async with account.client(key) as http:
        return (await http.get("/users/me")).status_code


async def test_a_key_is_made_used_and_deleted_with_effect_at_once(account: Account) -> None:
    made = await account.post(KEYS, {"name": "ci", "type": "private_key"})
    secret = made["secret"]
    assert re.fullmatch(r"sk_[0-9A-HJKMNP-TV-Z]{26}", made["api_key"])
    assert secret["display_id"] == f"{made['api_key'][:5]}***{made['api_key'][-2:]}"
    assert {name: secret[name] for name in ("name", "type", "provider", "roles", "user_type", "user_id", "status")} == {
        "name": "ci",
        "type": "private_key",
        "provider": "flexprice",
        "roles": ["super_admin"],
        "user_type": "user",
        "user_id": account.user_id,
        "status": "published",
    }
    assert await status_with(account, made["api_key"]) == 200
    await account.delete(f"{KEYS}/{secret['id']}")
    assert await status_with(account, made["api_key"]) == 401
    again = await account.delete(f"{KEYS}/{secret['id']}", expect=404)
    assert again["details"] == {"secret_id": secret["id"]}
    assert secret["id"] not in [item["id"] for item in (await account.get(KEYS))["items"]]
    archived = await account.get(KEYS, status="archived")
    assert [item["id"] for item in archived["items"]] == [secret["id"]]


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(account: Account) -> None:
    made = await account.post(KEYS, {"name": "ci", "type": "publishable_key"})
    assert made["api_key"].startswith("pk_")
    listed = await account.http.get(KEYS)
    assert made["api_key"] not in listed.text
    async with account.database.transaction(SYSTEM) as session:
        row = await session.get_one(Secret, made["secret"]["id"])
        everything = (
            await session.execute(text("SELECT secrets::text FROM secrets WHERE id = :id"), {"id": row.id})
        ).scalar_one()
    assert row.hash == account.hasher.hash(made["api_key"])
    assert re.fullmatch(r"[0-9a-f]{64}", row.hash)
    assert made["api_key"] not in everything
    assert row.hash not in listed.text
    # under another master key the same key hashes to something else
    assert keys.KeyHasher("another master key").hash(made["api_key"]) != row.hash


def test_keys_are_drawn_evenly_and_never_twice() -> None:
    drawn = [keys.draw(SecretType.PRIVATE_KEY) for _ in range(2000)]
    assert len(set(drawn)) == len(drawn)
    letters = Counter("".join(key[3:] for key in drawn))
    assert len(letters) == 32
    # 52 000 draws over 32 letters: 1625 each, and a deviation of 12 sigma is not chance
    assert all(1150 < count < 2100 for count in letters.values())


async def test_a_key_expires_by_the_real_clock(account: Account) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = await account.post(KEYS, {"name": "brief", "type": "private_key", "expires_at": instant(soon)})
    assert made["secret"]["expires_at"] == instant(soon)
    # an environment whose clock stands in the far future keeps its keys
    await account.freeze(datetime(2090, 1, 1, tzinfo=UTC))
    assert await status_with(account, made["api_key"]) == 200
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(Secret)
            .where(Secret.id == made["secret"]["id"])
            .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
        await keys.invalidate(session, made["secret"]["id"])
    assert await status_with(account, made["api_key"]) == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"type": "private_key"}, "name", id="a name is needed"),
        pytest.param({"name": "", "type": "private_key"}, "name", id="and not an empty one"),
        pytest.param({"name": "a"}, "type", id="a type is needed"),
        pytest.param({"name": "a", "type": "integration"}, "type", id="credentials of integrations are made elsewhere"),
        pytest.param(
            {"name": "a", "type": "private_key", "expires_at": "2020-01-01T00:00:00Z"},
            "expires_at",
            id="it cannot have expired already",
        ),
        pytest.param(
            {"name": "a", "type": "private_key", "expires_at": "2090-01-01T00:00:00"},
            "expires_at",
            id="its end has a time zone",
        ),
    ],
)
async def test_a_key_that_cannot_be_made_names_its_field(account: Account, body: Any, field: str) -> None:
    refused = await account.post(KEYS, body, expect=400)
    assert refused["code"] == "validation_error"
    assert field in refused["details"]


async def test_a_key_dies_with_its_owner(account: Account) -> None:
    key = await account.new_key(["super_admin"])
    assert await status_with(account, key) == 200
    async with account.database.transaction(SYSTEM) as session:
        owner = (
            await session.execute(select(Secret.user_id).where(Secret.hash == account.hasher.hash(key)))
        ).scalar_one()
        await session.execute(update(User).where(User.id == owner).values(status=Status.ARCHIVED))
        await keys.invalidate(session, owner)
    assert await status_with(account, key) == 401


async def test_a_key_keeps_the_roles_its_owner_had(account: Account) -> None:
    key = await account.new_key(["event_reader"])
    async with account.database.transaction(SYSTEM) as session:
        owner = (
            await session.execute(select(Secret.user_id).where(Secret.hash == account.hasher.hash(key)))
        ).scalar_one()
        await session.execute(update(User).where(User.id == owner).values(roles=["super_admin"]))
        await keys.invalidate(session, owner)
    async with account.client(key) as http:
        assert (await http.get("/settings/invoice_config")).status_code == 403


async def test_a_person_in_charge_makes_keys_for_service_accounts(account: Account) -> None:
    robot = await account.post("/users", {"type": "service_account", "name": "robot", "roles": ["event_ingestor"]})
    made = await account.post(KEYS, {"name": "for robot", "type": "private_key", "service_account_id": robot["id"]})
    assert made["secret"]["user_id"] == robot["id"]
    assert made["secret"]["user_type"] == "service_account"
    assert made["secret"]["service_account_name"] == "robot"
    assert made["secret"]["roles"] == ["event_ingestor"]
    async with account.client(made["api_key"]) as http:
        assert (await http.get("/users/me")).json()["id"] == robot["id"]


async def test_nobody_else_makes_keys_for_others(account: Account, stranger: Account) -> None:
    robot = await account.post("/users", {"type": "service_account", "roles": ["event_ingestor"]})
    body = {"name": "x", "type": "private_key", "service_account_id": robot["id"]}
    service = await account.new_key(["super_admin"])
    async with account.client(service) as http, await person(account, ["all_writer"]) as writer:
        for client in (http, writer):
            refused = await client.post(KEYS, json=body)
            assert refused.status_code == 403
            assert refused.json()["message"] == "This action requires a user account with Super Admin access"
    await account.post(KEYS, {**body, "service_account_id": account.user_id}, expect=400)
    unknown = await account.post(KEYS, {**body, "service_account_id": "user_unknown"}, expect=404)
    foreign = await account.post(KEYS, {**body, "service_account_id": stranger.user_id}, expect=404)
    assert str(unknown).replace("user_unknown", stranger.user_id) == str(foreign)
    await account.delete(f"/users/{robot['id']}")
    await account.post(KEYS, body, expect=400)


async def test_who_sees_and_deletes_whose_keys(account: Account) -> None:
    service = await account.new_key(["super_admin"])
    async with account.client(service) as http:
        own = (await http.post(KEYS, json={"name": "own", "type": "private_key"})).json()["secret"]
        seen = (await http.get(KEYS)).json()
        assert {item["name"] for item in seen["items"]} == {"more", "own"}
        assert seen["pagination"] == {"total": 2, "limit": 50, "offset": 50}
        everybodys = await account.get(KEYS)
        assert {item["name"] for item in everybodys["items"]} == {"test", "more", "own"}
        mine = next(item for item in everybodys["items"] if item["name"] == "test")
        refused = await http.delete(f"{KEYS}/{mine['id']}")
        assert refused.status_code == 403
        assert refused.json()["message"] == "This action requires a user account with Super Admin access"
        assert (await http.delete(f"{KEYS}/{own['id']}")).status_code == 204
    other = next(item for item in everybodys["items"] if item["name"] == "more")
    await account.delete(f"{KEYS}/{other['id']}")
    assert await status_with(account, service) == 401


async def test_keys_belong_to_one_environment(account: Account) -> None:
    other = await account.new_environment()
    elsewhere = await account.new_key(["super_admin"], owner_type=UserType.USER, environment_id=other)
    async with account.client(elsewhere) as http:
        assert [item["name"] for item in (await http.get(KEYS)).json()["items"]] == ["more"]
        here = (await account.get(KEYS))["items"][0]["id"]
        assert (await http.delete(f"{KEYS}/{here}")).status_code == 404


async def test_last_use_is_written_off_the_request_path_once_a_minute(account: Account) -> None:
    authenticator = HeaderAuthenticator(account.database, account.settings)

    class Asking:
        scope = {"headers": [(b"x-api-key", account.key.encode())]}

    for _ in range(3):
        await authenticator(Asking(), needs_environment=True)  # type: ignore[arg-type]  # only headers are read
    used = authenticator.take_used()
    assert len(used) == 1
    assert authenticator.take_used() == []
    (before,) = (await account.get(KEYS))["items"]
    assert "last_used_at" not in before
    await record_used(account.database, used)
    (after,) = (await account.get(KEYS))["items"]
    assert abs(datetime.fromisoformat(after["last_used_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert after["updated_at"] == before["updated_at"]
    await record_used(account.database, used)
    assert (await account.get(KEYS))["items"][0]["last_used_at"] == after["last_used_at"]
    async with account.database.transaction(SYSTEM) as session:
        earlier = datetime.now(UTC) - timedelta(seconds=61)
        await session.execute(update(Secret).where(Secret.id == used[0]).values(last_used_at=earlier))
    await record_used(account.database, used)
    assert (await account.get(KEYS))["items"][0]["last_used_at"] > after["last_used_at"]


async def test_those_who_ask_at_once_with_a_key_wait_for_one_look_up(account: Account) -> None:
    authenticator = HeaderAuthenticator(account.database, account.settings)

    class Asking:
        scope = {"headers": [(b"x-api-key", account.key.encode())]}

    read, reads = authenticator._valid, []

    async def counted(*given: Any) -> Any:
        reads.append(given)
        return await read(*given)

    authenticator._valid = counted  # type: ignore[method-assign, assignment]  # nothing else tells look-ups from one another

    async def ask() -> Any:
        return await authenticator(Asking(), needs_environment=True)  # type: ignore[arg-type]  # only headers are read

    callers = await asyncio.gather(*(ask() for _ in range(20)))
    assert (len(reads), {caller.tenant_id for caller in callers}) == (1, {account.tenant_id})
    authenticator.forget()
    earlier = asyncio.create_task(ask())
    await asyncio.sleep(0)
    authenticator.forget()  # who asks after a change waits for no look-up that began before it
    await asyncio.gather(earlier, ask())
    assert len(reads) == 3


async def test_a_key_read_before_a_change_is_not_remembered_after_it(account: Account) -> None:
    """The look-up and the deletion overlap; what was read must not outlive the deletion."""
    authenticator = HeaderAuthenticator(account.database, account.settings)

    class Asking:
        scope = {"headers": [(b"x-api-key", account.key.encode())]}

    read = authenticator._valid

    async def slow(*given: Any) -> Any:
        found = await read(*given)
        authenticator.forget()
        return found

    authenticator._valid = slow  # type: ignore[method-assign, assignment]  # a change lands in the middle
    await authenticator(Asking(), needs_environment=True)  # type: ignore[arg-type]  # only headers are read
    assert authenticator._remembered == {}


async def test_a_key_made_during_a_change_of_roles_has_the_old_roles_or_the_new_ones_and_is_counted(
    account: Account,
) -> None:
    user = await new_user(account, ["super_admin"])
    async with await person(account) as http:
        async with account.database.transaction(SYSTEM) as session:
            await session.execute(select(User).where(User.id == user.id).with_for_update())
            changing = asyncio.create_task(http.put(f"/users/{user.id}/roles", json={"roles": ["all_reader"]}))
            await until_waited_for(session)
            owner = await session.get_one(User, user.id)
            await keys.create(
                session, account.hasher, owner=owner, environment_id=account.environment_id, name="meanwhile"
            )
        answer = await changing
    assert answer.status_code == 400
    assert answer.json()["details"]["active_api_key_count"] == 1


async def test_an_answer_that_shows_a_secret_is_never_kept(account: Account) -> None:
    """Kept answers are stored; a retry with the same idempotency key makes another key instead."""
    shown = []
    for path, body, field in (
        (KEYS, {"name": "a", "type": "private_key"}, "api_key"),
        ("/users", {"type": "user", "email": f"{new_id(Kind.USER).lower()}@example.com"}, "password"),
    ):
        answer = await account.http.post(path, json=body, headers={"Idempotency-Key": path})
        assert answer.status_code == 201
        shown.append(answer.json()[field])
    robot = {"type": "service_account", "roles": ["event_reader"]}
    first, second = [
        (await account.http.post("/users", json=robot, headers={"Idempotency-Key": "robot"})).json() for _ in range(2)
    ]
    assert first == second
    async with account.transaction() as session:
        kept = (await session.scalars(select(StoredAnswer.body))).all()
    async with account.database.transaction(Scope(account.tenant_id)) as session:
        kept = [*kept, *(await session.scalars(select(StoredAnswer.body))).all()]
    assert kept
    assert not any(secret.encode() in body for secret in shown for body in kept if body is not None)
