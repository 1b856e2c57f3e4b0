"""A credential that opens one environment reaches no other, neither itself nor through whom it lets in."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import update

from farthing.core.enums import Status
from farthing.identity.credentials import keys
from farthing.identity.tables import Environment
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.identity.conftest import new_user, person


async def test_a_key_of_one_of_several_environments_lets_nobody_in(account: Account) -> None:
    """People enter every environment; whoever signed in, and a key where there is no other, may let them in."""
    reader = await new_user(account, ["all_reader"])
    requests = (
        ("POST", "/users", {"type": "user", "email": f"{uuid.uuid4().hex}@example.com"}, 201),
        ("PUT", f"/users/{reader.id}/roles", {"roles": ["all_writer"]}, 200),
    )
    other = await account.new_environment()
    for method, path, body, done in requests:
        refused = await account.http.request(method, path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied"), refused.text
        assert "several environments" in refused.json()["message"]
        async with await person(account) as in_charge:
            answer = await in_charge.request(method, path, json=body)
        assert answer.status_code == done, answer.text
    await _archive(account, other)
    alone = {"type": "user", "email": f"{uuid.uuid4().hex}@example.com"}
    assert (await account.http.post("/users", json=alone)).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("POST", "/environments/{other}/clone", {"name": "New", "type": "development"}, id="copy from"),
        pytest.param("POST", "/environments/{own}/clone", {"target_environment_id": "{other}"}, id="copy into"),
        pytest.param("POST", "/environments/{other}/clock", {"frozen_time": "2031-01-01T00:00:00Z"}, id="move time"),
        pytest.param("GET", "/environments/{other}/clock", None, id="look at the time"),
        pytest.param("PUT", "/environments/{other}", {"name": "Taken"}, id="rename"),
    ],
)
async def test_a_key_touches_its_own_environment_alone(
    account: Account, method: str, path: str, body: dict[str, str] | None
) -> None:
    """Whoever signed in may: what is refused to the key is refused for what it is."""
    named = {"{own}": account.environment_id, "{other}": await account.new_environment()}
    for placeholder, environment_id in named.items():
        path = path.replace(placeholder, environment_id)
    asked = None if body is None else {name: named.get(value, value) for name, value in body.items()}
    refused = await account.http.request(method, path, json=asked)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied"), refused.text
    async with await person(account) as in_charge:
        allowed = await in_charge.request(method, path, json=asked)
    assert allowed.status_code != 403, allowed.text


async def test_a_key_ends_with_its_environment(account: Account) -> None:
    other = await account.new_environment()
    async with account.client(await account.new_key(["super_admin"], environment_id=other)) as http:
        assert (await http.get("/customers")).status_code == 200
        await _archive(account, other)
        assert (await http.get("/customers")).status_code == 401


async def _archive(account: Account, environment_id: str) -> None:
    async with account.database.transaction(SYSTEM) as session:
        archived = update(Environment).where(Environment.id == environment_id).values(status=Status.ARCHIVED)
        await session.execute(archived)
        await keys.invalidate(session, environment_id)
