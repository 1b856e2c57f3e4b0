"""Who a request is from, by its headers.

Rule: docs/rules/identity.md#credentials
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from sqlalchemy import update

from farthing.core.enums import Status
from farthing.identity.credentials import keys
from farthing.identity.credentials.keys import derived_key
from farthing.identity.tables import InternalStatus, SecretType, Tenant, User, UserType
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.conftest import running, settings_for
from tests.identity.conftest import new_user, opened_session, person, token_of
from tests.waiting import until

EXEMPT = ("/users/me", "/environments")
NEEDING = ("/secrets/api/keys", "/settings/invoice_config", "/rbac/roles")


async def asked(account: Account, path: str = "/users/me", **headers: str) -> httpx.Response:
    async with account.client(headers={key.replace("_", "-"): value for key, value in headers.items()}) as http:
        return await http.get(path)


async def test_nothing_is_said_to_nobody(account: Account) -> None:
    answer = await asked(account)
    assert answer.status_code == 401
    assert answer.json() == {
        "code": "permission_denied",
        "message": "Unauthorized",
        "http_status_code": 401,
        "success": False,
        "error": {"message": "Unauthorized", "internal_error": ""},
    }


async def test_an_invalid_key_without_a_token_is_called_that(account: Account) -> None:
    answer = await asked(account, x_api_key="sk_nonsense")
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")


async def test_an_invalid_key_leaves_the_token_its_chance(account: Account) -> None:
    user = await new_user(account, ["all_reader"])
    token = await token_of(account, user.id)
    answer = await asked(account, x_api_key="sk_nonsense", authorization=f"Bearer {token}")
    assert answer.json()["id"] == user.id


async def test_a_valid_key_wins_over_a_token(account: Account) -> None:
    token = await token_of(account, (await new_user(account, ["all_reader"])).id)
    answer = await asked(account, x_api_key=account.key, authorization=f"Bearer {token}")
    assert answer.json()["id"] == account.user_id
    # not even a malformed one is looked at
    assert (await asked(account, x_api_key=account.key, authorization="nonsense")).status_code == 200


async def test_the_header_of_a_key_is_found_in_any_case(account: Account) -> None:
    assert (await asked(account, **{"X-API-KEY": account.key})).status_code == 200


async def test_the_header_of_a_key_can_have_another_name(
    account: Account, database: Database, database_url: str
) -> None:
    settings = settings_for(database_url, api_key_header="X-Farthing-Key")
    async with running(settings, database) as url, httpx.AsyncClient(base_url=f"{url}/v1") as http:
        assert (await http.get("/users/me", headers={"x-farthing-key": account.key})).status_code == 200
        assert (await http.get("/users/me", headers={"x-api-key": account.key})).status_code == 401


@pytest.mark.parametrize("header", ["Basic abc", "bearer abc", "abc"])
async def test_an_authorization_that_is_not_bearer_is_malformed(account: Account, header: str) -> None:
    answer = await asked(account, authorization=header)
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid authorization header format")


async def forged(account: Account, **given: Any) -> str:
    """A token signed with the right key, with these claims laid over good ones; None takes one away."""
    _, opened = await opened_session(account, account.user_id)
    claims = {
        "typ": "user",
        "sid": opened,
        "user_id": account.user_id,
        "tenant_id": account.tenant_id,
        "iat": datetime.now(UTC),
        "exp": datetime.now(UTC) + timedelta(days=1),
        **given,
    }
    key = derived_key(account.settings.master_key(), "user-tokens")
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm="HS256")


@pytest.mark.parametrize(
    ("claims", "status", "message"),
    [
        pytest.param({}, 200, None, id="a good one"),
        pytest.param({"typ": None}, 200, None, id="an older one without a kind is told by its claims"),
        pytest.param({"typ": None, "customer_id": "cust_1"}, 401, "Invalid token", id="an older one of a portal"),
        pytest.param({"typ": "portal"}, 401, "Invalid token", id="one of a portal"),
        pytest.param({"exp": datetime(2020, 1, 1, tzinfo=UTC)}, 401, "Invalid token", id="an expired one"),
        pytest.param({"sid": None}, 401, "Invalid token", id="one of no session"),
        pytest.param({"sid": "another"}, 401, "Invalid token", id="one of an unknown session"),
        pytest.param({"exp": None}, 401, "Invalid token", id="one without an end"),
        pytest.param({"tenant_id": None}, 401, "Invalid token claims", id="one without a tenant"),
        pytest.param({"user_id": None}, 401, "Invalid token claims", id="one without a user"),
        pytest.param({"user_id": 7}, 401, "Invalid token claims", id="one with a number for a user"),
        pytest.param({"user_id": "user_x"}, 401, "Unauthorized", id="one of an unknown user"),
        pytest.param({"tenant_id": "tenant_x"}, 401, "Unauthorized", id="one of another tenant's user"),
    ],
)
async def test_tokens_are_read_with_care(account: Account, claims: Any, status: int, message: str | None) -> None:
    answer = await asked(account, authorization=f"Bearer {await forged(account, **claims)}")
    assert answer.status_code == status
    assert answer.json().get("message") == message


async def test_unsigned_and_wrongly_signed_tokens_are_refused(account: Account) -> None:
    claims = jwt.decode(await forged(account), options={"verify_signature": False})
    for token in (
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, "another key of thirty-two bytes and more", algorithm="HS256"),
        "a.b.c",
    ):
        answer = await asked(account, authorization=f"Bearer {token}")
        assert (answer.status_code, answer.json()["message"]) == (401, "Invalid token")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_other_hmac_algorithms_are_accepted(account: Account) -> None:
    claims = jwt.decode(await forged(account), options={"verify_signature": False})
    key = derived_key(account.settings.master_key(), "user-tokens")
    answer = await asked(account, authorization=f"Bearer {jwt.encode(claims, key, algorithm='HS512')}")
    assert answer.status_code == 200


async def test_a_token_ends_with_its_user(account: Account) -> None:
    user = await new_user(account, ["all_reader"])
    token = await token_of(account, user.id)
    assert (await asked(account, authorization=f"Bearer {token}")).status_code == 200
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(update(User).where(User.id == user.id).values(status=Status.ARCHIVED))
    answer = await asked(account, authorization=f"Bearer {token}")
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")


async def test_roles_of_a_token_are_read_on_each_request(account: Account) -> None:
    user = await new_user(account, ["all_reader"])
    token = await token_of(account, user.id)
    async with account.client(headers={"Authorization": f"Bearer {token}"}) as http:
        assert (await http.put("/users/me", json={"name": "A"})).status_code == 403
        async with account.database.transaction(SYSTEM) as session:
            await session.execute(update(User).where(User.id == user.id).values(roles=["all_writer"]))
        assert (await http.put("/users/me", json={"name": "A"})).status_code == 200


async def test_a_stored_key_brings_its_environment_and_ignores_the_header(account: Account, stranger: Account) -> None:
    other = await account.new_environment()
    for header in (other, stranger.environment_id, "nonsense"):
        answer = await asked(account, "/settings/invoice_config", x_api_key=account.key, x_environment_id=header)
        assert answer.json()["environment_id"] == account.environment_id


@pytest.mark.parametrize("path", NEEDING)
async def test_a_token_needs_an_environment_of_its_own_tenant(account: Account, stranger: Account, path: str) -> None:
    token = f"Bearer {await token_of(account, account.user_id)}"
    assert (await asked(account, path, authorization=token, x_environment_id=account.environment_id)).is_success
    refusals = [
        await asked(account, path, authorization=token),
        await asked(account, path, authorization=token, x_environment_id="env_unknown"),
        await asked(account, path, authorization=token, x_environment_id=stranger.environment_id),
    ]
    assert {refusal.status_code for refusal in refusals} == {403}
    assert {refusal.json()["message"] for refusal in refusals} == {"Invalid or inaccessible environment"}
    assert len({refusal.content for refusal in refusals}) == 1


@pytest.mark.parametrize("path", EXEMPT)
async def test_some_groups_need_no_environment_but_check_one_that_is_named(account: Account, path: str) -> None:
    token = f"Bearer {await token_of(account, account.user_id)}"
    assert (await asked(account, path, authorization=token)).status_code == 200
    assert (await asked(account, path, authorization=token, x_environment_id=account.environment_id)).is_success
    assert (await asked(account, path, authorization=token, x_environment_id="env_unknown")).status_code == 403


async def test_a_tenant_needs_no_environment_to_see_itself(account: Account) -> None:
    token = f"Bearer {await token_of(account, account.user_id)}"
    assert (await asked(account, f"/tenants/{account.tenant_id}", authorization=token)).status_code == 200


async def test_a_token_may_carry_its_environment_which_then_wins(account: Account) -> None:
    other = await account.new_environment()
    token = await forged(account, environment_id=other)
    answer = await asked(
        account,
        "/settings/invoice_config",
        authorization=f"Bearer {token}",
        x_environment_id=account.environment_id,
    )
    assert answer.json()["environment_id"] == other


async def test_a_publishable_key_only_sends_events(account: Account) -> None:
    key = await account.new_key(["super_admin"], type=SecretType.PUBLISHABLE_KEY, owner_type=UserType.USER)
    async with account.client(key) as http:
        for answer in (
            await http.get("/settings/invoice_config"),
            await http.get("/secrets/api/keys"),
            await http.post("/users", json={"type": "service_account", "roles": ["event_reader"]}),
        ):
            assert answer.status_code == 403
            assert answer.json()["message"] == "insufficient permissions"
        settings = await http.put("/settings/invoice_config", json={"value": {}})
    assert settings.json()["message"] == "This action requires a user account with Super Admin access"


async def test_publishable_keys_can_be_given_their_owners_rights(
    account: Account, database: Database, database_url: str
) -> None:
    key = await account.new_key(["super_admin"], type=SecretType.PUBLISHABLE_KEY)
    settings = settings_for(database_url, publishable_keys_full_access=True)
    async with running(settings, database) as url, httpx.AsyncClient(base_url=f"{url}/v1") as http:
        assert (await http.get("/settings/invoice_config", headers={"x-api-key": key})).status_code == 200


class Operated:
    """A deployment with operator keys and a list of who may enter what."""

    def __init__(self, account: Account, other_environment: str, url: str) -> None:
        self.account = account
        self.other_environment = other_environment
        self.url = url

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"{self.url}/v1") as http:
            return await http.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


OPERATOR, ASLEEP, GHOST, NOWHERE = (f"operator-key-{name}" for name in ("one", "asleep", "ghost", "nowhere"))


@pytest.fixture
async def operated(account: Account, database: Database, database_url: str) -> AsyncIterator[Operated]:
    other = await account.new_environment()
    entry = {"tenant_id": account.tenant_id, "user_id": account.user_id, "name": "ops"}
    entries = {
        OPERATOR: entry,
        ASLEEP: {**entry, "is_active": False},
        GHOST: {**entry, "user_id": "user_ghost"},
        NOWHERE: {**entry, "tenant_id": "tenant_nowhere"},
    }
    settings = settings_for(
        database_url,
        operator_keys=json.dumps({hashlib.sha256(key.encode()).hexdigest(): value for key, value in entries.items()}),
        environment_access=json.dumps({account.tenant_id: {"user_ghost": [account.environment_id]}}),
    )
    async with running(settings, database) as url:
        yield Operated(account, other, url)


async def test_an_operator_key_is_super_admin_in_the_environment_it_names(operated: Operated) -> None:
    here = operated.account.environment_id
    answer = await operated.get("/settings/invoice_config", x_api_key=OPERATOR, x_environment_id=here)
    assert answer.json()["environment_id"] == here
    other = operated.other_environment
    answer = await operated.get("/settings/invoice_config", x_api_key=OPERATOR, x_environment_id=other)
    assert answer.json()["environment_id"] == other


async def test_an_operator_key_must_name_an_environment_where_one_is_needed(
    operated: Operated, stranger: Account
) -> None:
    assert (await operated.get("/users/me", x_api_key=OPERATOR)).status_code == 200
    for headers in ({}, {"x_environment_id": "env_x"}, {"x_environment_id": stranger.environment_id}):
        answer = await operated.get("/settings/invoice_config", x_api_key=OPERATOR, **headers)
        assert (answer.status_code, answer.json()["message"]) == (403, "Invalid or inaccessible environment")


async def test_operator_keys_may_sleep_or_point_nowhere(operated: Operated) -> None:
    for key in (ASLEEP, NOWHERE):
        answer = await operated.get("/users/me", x_api_key=key)
        assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")
    assert (await operated.get("/users/me", x_api_key=GHOST)).status_code == 404


async def test_who_is_on_the_list_enters_only_what_it_names(operated: Operated) -> None:
    here, there = operated.account.environment_id, operated.other_environment
    listed = {"x_api_key": GHOST}
    assert (await operated.get("/settings/invoice_config", **listed, x_environment_id=here)).status_code == 200
    refused = await operated.get("/settings/invoice_config", **listed, x_environment_id=there)
    assert (refused.status_code, refused.json()["message"]) == (403, "You don't have access to this environment")
    seen = (await operated.get("/environments", **listed)).json()
    assert ([e["id"] for e in seen["environments"]], seen["total"]) == ([here], 1)
    assert (await operated.get(f"/environments/{here}", **listed)).status_code == 200
    denied = await operated.get(f"/environments/{there}", **listed)
    assert (denied.status_code, denied.json()["code"]) == (403, "permission_denied")
    async with httpx.AsyncClient(base_url=f"{operated.url}/v1") as http:
        renamed = await http.put(f"/environments/{there}", json={"name": "Mine"}, headers={"x-api-key": GHOST})
    assert renamed.status_code == 403


async def test_who_is_on_the_list_lets_nobody_in_who_would_enter_more(operated: Operated) -> None:
    async with httpx.AsyncClient(base_url=f"{operated.url}/v1") as http:
        for key, status in ((GHOST, 403), (OPERATOR, 201)):
            body = {"type": "user", "email": f"{key}-{operated.account.user_id}@example.com".lower()}
            answer = await http.post("/users", json=body, headers={"x-api-key": key})
            assert answer.status_code == status, answer.text


async def test_who_is_not_on_the_list_enters_all(operated: Operated) -> None:
    seen = (await operated.get("/environments", x_api_key=OPERATOR)).json()
    assert seen["total"] == 2


async def test_the_operator_alone_changes_a_tenants_limits(operated: Operated) -> None:
    body = {"value": {"production": 3}}
    refused = await operated.account.put("/settings/tenant_config", body, expect=403)
    assert refused["code"] == "permission_denied"
    headers = {"x-api-key": OPERATOR, "x-environment-id": operated.account.environment_id}
    async with httpx.AsyncClient(base_url=f"{operated.url}/v1", headers=headers) as http:
        assert (await http.put("/settings/tenant_config", json=body)).status_code == 200
    made = await operated.account.post("/environments", {"name": "Live", "type": "production"})
    assert made["type"] == "production"
    await operated.account.delete("/settings/tenant_config", expect=403)


async def suspend(account: Account, status: InternalStatus) -> None:
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(update(Tenant).where(Tenant.id == account.tenant_id).values(internal_status=status))
        await keys.invalidate(session, account.tenant_id)


async def test_a_suspended_tenant_reads_and_does_not_write(account: Account) -> None:
    reader = await account.new_key(["event_ingestor"])
    await account.get("/settings/invoice_config")
    await suspend(account, InternalStatus.SUSPENDED)
    await account.get("/settings/invoice_config")
    refused = await account.put("/settings/invoice_config", {"value": {}}, expect=403)
    assert refused["message"] == "tenant account is suspended"
    # before any role is looked at
    async with account.client(reader) as http:
        assert (await http.put("/users/me", json={})).json()["message"] == "tenant account is suspended"
    async with await person(account) as http:
        assert (await http.put("/users/me", json={})).json()["message"] == "tenant account is suspended"
    await suspend(account, InternalStatus.ACTIVE)
    await account.put("/settings/invoice_config", {"value": {}})


async def test_a_suspension_made_by_another_process_is_heard(account: Account, database_url: str) -> None:
    """The notice alone must do it: this connection is nobody's session in this process."""
    await account.get("/users/me")
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("SELECT set_config('farthing.tenant_id', '*', true)")
        await connection.execute("UPDATE tenants SET internal_status = 'suspended' WHERE id = %s", (account.tenant_id,))
        await connection.execute("SELECT pg_notify('farthing', %s)", (f"{keys.TOPIC} {account.tenant_id}",))

    async def is_refused() -> bool:
        answer = await account.http.put("/users/me", json={"name": uuid.uuid4().hex})
        return answer.status_code == 403

    await until(is_refused)
