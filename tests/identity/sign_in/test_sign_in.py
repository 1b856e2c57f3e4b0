"""Signing up and in."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import argon2
import httpx
import jwt
import pytest
from sqlalchemy import select, update

from farthing.core.enums import Status
from farthing.identity.sign_in import passwords
from farthing.identity.tables import Environment, Tenant, User
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.conftest import running, settings_for

Visitor = Callable[..., httpx.AsyncClient]
PASSWORD = "correct horse battery"


def email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def sign_up_body(**given: Any) -> dict[str, Any]:
    return {"email": email(), "password": PASSWORD, **given}


async def test_signing_up_makes_a_tenant_a_super_admin_and_a_sandbox(visitor: Visitor, database: Database) -> None:
    body = sign_up_body(tenant_name="Acme", metadata={"source": "ad"})
    async with visitor() as http:
        answer = await http.post("/auth/signup", json=body)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert set(made) == {"token", "user_id", "tenant_id"}
        me = await http.get("/users/me", headers={"Authorization": f"Bearer {made['token']}"})
    assert me.json()["email"] == body["email"]
    assert me.json()["roles"] == ["super_admin"]
    assert me.json()["type"] == "user"
    assert me.json()["metadata"] == {"source": "ad"}
    assert me.json()["tenant"]["name"] == "Acme"
    async with database.transaction(SYSTEM) as session:
        environments = (
            await session.scalars(select(Environment).where(Environment.tenant_id == made["tenant_id"]))
        ).all()
        user = await session.get_one(User, made["user_id"])
    assert [(e.name, e.type.value) for e in environments] == [("Sandbox", "development")]
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")


async def test_without_a_name_the_tenant_gets_the_deployments_default(visitor: Visitor) -> None:
    async with visitor() as http:
        made = (await http.post("/auth/signup", json=sign_up_body())).json()
        tenant = await http.get(f"/tenants/{made['tenant_id']}", headers={"Authorization": f"Bearer {made['token']}"})
    assert tenant.json()["name"] == "Farthing"


async def test_an_email_signs_up_once_in_whatever_case_and_leaves_nothing_behind(
    visitor: Visitor, database: Database
) -> None:
    body = sign_up_body(tenant_name=uuid.uuid4().hex)
    async with visitor() as http:
        assert (await http.post("/auth/signup", json=body)).status_code == 200
        again = await http.post("/auth/signup", json={**body, "email": f"  {body['email'].upper()} "})
    assert again.status_code == 409
    assert again.json()["code"] == "already_exists"
    assert again.json()["message"] == "An account with this email already exists"
    assert again.json()["details"] == {"email": body["email"]}
    async with database.transaction(SYSTEM) as session:
        tenants = (await session.scalars(select(Tenant).where(Tenant.name == body["tenant_name"]))).all()
    assert len(tenants) == 1


async def test_of_many_who_sign_up_at_once_with_one_email_one_succeeds(visitor: Visitor) -> None:
    body = sign_up_body()
    async with visitor() as http:
        answers = await asyncio.gather(*(http.post("/auth/signup", json=body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"email": None}, "email", id="an email is needed"),
        pytest.param({"email": "nobody"}, "email", id="it must be an address"),
        pytest.param({"email": "a@b@example.com"}, "email", id="with one at sign"),
        pytest.param({"password": "seven77"}, "password", id="seven characters are too few"),
        pytest.param({"password": "x" * 1025}, "password", id="a kilobyte is too much"),
        pytest.param({"metadata": {"": "x"}}, "metadata", id="metadata keeps its limits"),
    ],
)
async def test_a_sign_up_that_cannot_be_names_its_field(visitor: Visitor, change: Any, field: str) -> None:
    body = {key: value for key, value in sign_up_body(**change).items() if value is not None}
    async with visitor() as http:
        answer = await http.post("/auth/signup", json=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "validation_error"
    assert field in answer.json()["details"]


async def test_signing_up_can_be_switched_off(visitor: Visitor, database: Database, database_url: str) -> None:
    async with running(settings_for(database_url, signup_enabled=False), database) as url, visitor(url) as http:
        answer = await http.post("/auth/signup", json=sign_up_body())
    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_denied"


async def test_an_email_signs_in_trimmed_and_in_any_case(visitor: Visitor) -> None:
    body = sign_up_body()
    async with visitor() as http:
        made = (await http.post("/auth/signup", json=body)).json()
        answer = await http.post(
            "/auth/login", json={"email": f" {body['email'].upper()}\n", "password": body["password"]}
        )
    assert answer.status_code == 200
    assert {key: answer.json()[key] for key in ("user_id", "tenant_id")} == {
        key: made[key] for key in ("user_id", "tenant_id")
    }


async def test_a_token_lives_thirty_days_and_says_what_it_is(visitor: Visitor) -> None:
    async with visitor() as http:
        made = (await http.post("/auth/signup", json=sign_up_body())).json()
    claims = jwt.decode(made["token"], options={"verify_signature": False})
    assert claims["typ"] == "user"
    assert (claims["user_id"], claims["tenant_id"]) == (made["user_id"], made["tenant_id"])
    assert timedelta(seconds=claims["exp"] - claims["iat"]) == timedelta(days=30)
    assert abs(datetime.fromtimestamp(claims["iat"], UTC) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_every_failed_login_answers_the_same_bytes(visitor: Visitor, database: Database) -> None:
    known, archived = sign_up_body(), sign_up_body()
    async with visitor() as http:
        for body in (known, archived):
            assert (await http.post("/auth/signup", json=body)).status_code == 200
        async with database.transaction(SYSTEM) as session:
            await session.execute(update(User).where(User.email == archived["email"]).values(status=Status.ARCHIVED))
        answers = [
            await http.post("/auth/login", json=attempt)
            for attempt in (
                {"email": email(), "password": PASSWORD},
                {"email": known["email"], "password": "something else"},
                {"email": archived["email"], "password": PASSWORD},
                {"email": "not an address", "password": PASSWORD},
            )
        ]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["code"] == "permission_denied"
    assert answers[0].json()["message"] == "Invalid email or password"


@pytest.mark.usefixtures("costly_passwords")
async def test_an_unknown_email_costs_the_work_of_a_known_one() -> None:
    stored = argon2.extract_parameters(await passwords.hashed("x"))
    assert argon2.extract_parameters(passwords.NOBODY) == stored
    assert not await passwords.matches("nobody has this password", passwords.NOBODY)
    assert not await passwords.matches("x", "not a hash")


async def test_an_unknown_email_is_hashed_against(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path, not the clock: each failure verifies exactly one hash."""
    asked: list[str | None] = []
    real = passwords.matches

    async def counting(password: str, hash: str | None) -> bool:
        asked.append(hash)
        return await real(password, hash)

    monkeypatch.setattr(passwords, "matches", counting)
    body = sign_up_body()
    async with visitor() as http:
        await http.post("/auth/signup", json=body)
        await http.post("/auth/login", json={"email": email(), "password": PASSWORD})
        await http.post("/auth/login", json={"email": body["email"], "password": "wrong password"})
    assert [stored is None for stored in asked] == [True, False]


@pytest.mark.parametrize("no_hash", [None, ""])
async def test_a_person_without_a_password_cannot_sign_in(
    visitor: Visitor, database: Database, no_hash: str | None
) -> None:
    async with visitor() as http:
        body = sign_up_body()
        await http.post("/auth/signup", json=body)
        async with database.transaction(SYSTEM) as session:
            await session.execute(update(User).where(User.email == body["email"]).values(password_hash=no_hash))
        # not even with the one whose hash is compared for the time that it takes
        for password in (PASSWORD, "nobody has this password"):
            answer = await http.post("/auth/login", json={"email": body["email"], "password": password})
            assert answer.status_code == 403


async def test_eleven_attempts_from_one_address_are_one_too_many(visitor: Visitor) -> None:
    attempt = {"email": email(), "password": PASSWORD}
    async with visitor() as http:
        began = time.monotonic()
        for _ in range(5):
            assert (await http.post("/auth/login", json=attempt)).status_code == 403
        attempts = 5
        while (answer := await http.post("/auth/signup", json={"email": "x"})).status_code == 400:
            attempts += 1
        regained = (time.monotonic() - began) / 6  # one more every six seconds, on a machine that is slow
    assert 10 <= attempts <= 10 + regained
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 6
    async with visitor() as elsewhere:
        assert (await elsewhere.post("/auth/login", json=attempt)).status_code == 403


async def test_single_sign_on_does_not_exist_here(visitor: Visitor) -> None:
    async with visitor() as http:
        answer = await http.get("/auth/saml/tenant_x/login")
    assert answer.status_code == 404
