"""Who is named for what was done: people, keys, operators, duties, and those who have not signed in yet."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import SystemClock
from farthing.core.origin import COMMAND_LINE, ChangeSource, acting_as
from farthing.customers.tables import Customer
from farthing.identity.credentials import operator
from farthing.jobs.duties.duty import Duty, everywhere, perform
from tests.account import Account
from tests.conftest import running, settings_for

OPERATOR_KEY = "operator-key-of-the-test"
PASSWORD = "a long enough password"


async def newest(account: Account, **asked: Any) -> dict[str, Any]:
    items = (await account.post("/activity", {"expand": ["state"], "limit": 1, **asked}, 200))["items"]
    assert items
    activity: dict[str, Any] = items[0]
    return activity


async def test_a_person_who_signs_up_makes_his_own_tenant(base_url: str, account: Account) -> None:
    email = f"{account.tenant_id}@example.com".lower()
    async with httpx.AsyncClient(base_url=f"{base_url}/v1") as http:
        signed = (await http.post("/auth/signup", json={"email": email, "password": PASSWORD})).json()
        http.headers["Authorization"] = f"Bearer {signed['token']}"
        environment = (await http.get("/environments")).json()["environments"][0]["id"]
        http.headers["X-Environment-ID"] = environment
        made = (await http.post("/activity", json={})).json()["items"]
        assert {activity["action"] for activity in made} == {"tenant.created", "user.created", "environment.created"}
        assert {(activity["actor"]["type"], activity["actor"]["label"], activity["source"]) for activity in made} == {
            ("user", email, "api")
        }
        # and what he does with his token is his own doing
        assert (await http.post("/customers", json={"external_id": "a", "name": "A"})).status_code == 201
        activity = (await http.post("/activity", json={"entity_type": "customer"})).json()["items"][0]
        assert activity["actor"] == {"id": signed["user_id"], "label": email, "type": "user"}
        assert PASSWORD not in json.dumps(made)


async def test_a_duty_is_named(alone: Account) -> None:
    async def rename(session: AsyncSession, _: object) -> int:
        session.add(Customer(id="cust_duty", external_id="duty", name="Duty"))
        return 0

    await perform(alone.database, Duty("spring_cleaning", "* * * * *", everywhere(rename)), SystemClock().now())
    activity = await newest(alone, entity_id="cust_duty")
    assert activity["actor"] == {"id": "spring_cleaning", "label": "spring cleaning", "type": "system"}
    assert activity["source"] == "worker"
    assert activity.keys().isdisjoint({"ip", "user_agent", "request_id"})


async def test_a_command_is_the_operators(alone: Account) -> None:
    with acting_as(COMMAND_LINE, ChangeSource.CLI):
        await operator.create_key(alone.database, alone.settings, name="by hand", environment_id=alone.environment_id)
    activity = await newest(alone, entity_type="api_key")
    assert (activity["action"], activity["entity"]["label"]) == ("api_key.created", "by hand")
    assert (activity["actor"]["type"], activity["actor"]["label"], activity["source"]) == (
        "operator",
        "command line",
        "cli",
    )
    assert "hash" not in activity["state"]


async def test_a_key_of_the_configuration_is_an_operator(alone: Account) -> None:
    digest = hashlib.sha256(OPERATOR_KEY.encode()).hexdigest()
    entry = {"tenant_id": alone.tenant_id, "user_id": alone.user_id, "name": "n" * 400, "is_active": True}
    settings = settings_for(alone.database.url, operator_keys=json.dumps({digest: entry}))
    async with running(settings, alone.database) as base_url:
        headers = {"x-api-key": OPERATOR_KEY, "X-Environment-ID": alone.environment_id}
        async with httpx.AsyncClient(base_url=f"{base_url}/v1", headers=headers) as http:
            answer = await http.post("/customers", json={"external_id": "a", "name": "A"})
            assert answer.status_code == 201, answer.text
    activity = await newest(alone, entity_type="customer")
    assert (activity["actor"]["type"], activity["actor"]["label"]) == ("operator", "n" * 320)
    assert activity["actor"]["owner_id"] == alone.user_id


async def test_a_service_account_is_found_behind_its_key(account: Account) -> None:
    service = await account.post("/users", {"type": "service_account", "name": "Robot", "roles": ["super_admin"]})
    body = {"name": "robot", "type": "private_key", "service_account_id": service["id"]}
    key = (await account.post("/secrets/api/keys", body))["api_key"]
    async with account.client(key) as http:
        assert (await http.post("/customers", json={"external_id": "r", "name": "R"})).status_code == 201
    activity = await newest(account, actor_id=service["id"], entity_type="customer")
    assert (activity["actor"]["type"], activity["actor"]["label"]) == ("api_key", "robot")
    assert activity["actor"]["owner_id"] == service["id"]


async def test_a_clock_that_is_moved_is_one_activity(alone: Account) -> None:
    path = f"/environments/{alone.environment_id}/clock"
    await alone.post(path, {"frozen_time": "2031-01-01T00:00:00Z"}, 200)
    await alone.post(path, {"frozen_time": "2031-02-01T00:00:00Z"}, 200)
    moves = (await alone.post("/activity", {"entity_type": "clock_advance", "expand": ["state"]}, 200))["items"]
    assert [move["state"]["target"] for move in moves] == ["2031-02-01T00:00:00Z", "2031-01-01T00:00:00Z"]
    assert {move["actor"]["type"] for move in moves} == {"api_key"}
    assert (await alone.post("/activity", {"actions": ["environment.updated"]}, 200))["items"] == []
