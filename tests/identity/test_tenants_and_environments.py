"""What a tenant says of itself, and its separate books."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from farthing.identity.tables import Environment
from farthing.storage.scope import SYSTEM
from tests.account import Account

NO_ADDRESS = dict.fromkeys(
    (f"address_{part}" for part in ("line1", "line2", "city", "state", "postal_code", "country")), ""
)
DETAILS = {
    "email": "bills@example.com",
    "help_email": "help@example.com",
    "phone": "+49 30 1",
    "tax_id": "DE123456789",
    "address": {
        "address_line1": "1 Main St",
        "address_line2": "Back",
        "address_city": "Berlin",
        "address_state": "BE",
        "address_postal_code": "10115",
        "address_country": "DE",
    },
}
SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


async def test_a_tenant_sees_itself_in_whole_seconds(account: Account) -> None:
    tenant = await account.get(f"/tenants/{account.tenant_id}")
    assert set(tenant) == {"id", "name", "status", "billing_details", "metadata", "created_at", "updated_at"}
    assert (tenant["name"], tenant["status"], tenant["billing_details"], tenant["metadata"]) == (
        "Test",
        "published",
        {"address": NO_ADDRESS},
        {},
    )
    assert SECONDS.fullmatch(tenant["created_at"])
    assert SECONDS.fullmatch(tenant["updated_at"])


async def test_no_tenant_sees_another(account: Account, stranger: Account) -> None:
    foreign = await account.http.get(f"/tenants/{stranger.tenant_id}")
    unknown = await account.http.get("/tenants/tenant_unknown")
    assert (foreign.status_code, foreign.content) == (403, unknown.content)


async def test_a_tenant_changes_what_it_names_and_keeps_the_rest(account: Account) -> None:
    await account.put("/tenants/update", {"billing_details": DETAILS, "metadata": {"a": "1", "b": "2"}})
    renamed = await account.put("/tenants/update", {"name": "Acme"})
    assert (renamed["name"], renamed["billing_details"], renamed["metadata"]) == (
        "Acme",
        DETAILS,
        {"a": "1", "b": "2"},
    )
    replaced = await account.put("/tenants/update", {"name": "", "billing_details": {"phone": "1"}, "metadata": {}})
    assert (replaced["name"], replaced["billing_details"], replaced["metadata"]) == (
        "Acme",
        {"phone": "1", "address": NO_ADDRESS},
        {},
    )
    assert await account.get(f"/tenants/{account.tenant_id}") == replaced


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(
            {"billing_details": {"address": {"address_city": "x" * 101}}},
            "billing_details.address.address_city",
            id="a city of 101 letters",
        ),
        pytest.param({"metadata": {"a": "x" * 501}}, "metadata.a", id="a value of 501 letters"),
        pytest.param({"metadata": {"a": 1}}, "metadata.a", id="a number in metadata"),
    ],
)
async def test_limits_of_a_tenants_fields(account: Account, body: Any, field: str) -> None:
    refused = await account.put("/tenants/update", body, expect=400)
    assert field in refused["details"]


@pytest.mark.parametrize("path", ["/tenant/billing", "/tenants/billing"])
async def test_a_deployment_that_bills_nobody_says_so(account: Account, path: str) -> None:
    answer = await account.get(path)
    assert answer == {"status": "trialing", "usage": None, "subscriptions": [], "invoices": []}


async def test_an_environment_is_made_read_and_renamed(account: Account) -> None:
    made = await account.post("/environments", {"name": "Staging", "type": "development"})
    assert set(made) == {"id", "name", "type", "created_at", "updated_at"}
    assert SECONDS.fullmatch(made["created_at"])
    assert await account.get(f"/environments/{made['id']}") == made
    own = f"/environments/{account.environment_id}"
    renamed = await account.put(own, {"name": "Rehearsal", "type": "development"})
    assert renamed["name"] == "Rehearsal"
    listed = await account.get("/environments")
    assert [environment["name"] for environment in listed["environments"]] == ["Staging", "Rehearsal"]
    assert {key: listed[key] for key in ("total", "offset", "limit")} == {"total": 2, "offset": 0, "limit": 50}
    page = await account.get("/environments", limit=1, offset=1)
    assert [environment["name"] for environment in page["environments"]] == ["Rehearsal"]
    assert {key: page[key] for key in ("total", "offset", "limit")} == {"total": 2, "offset": 1, "limit": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"name": "A"}, "type", id="a type is needed"),
        pytest.param({"name": "A", "type": "staging"}, "type", id="of the two there are"),
        pytest.param({"type": "development"}, "name", id="a name is needed"),
        pytest.param({"name": "", "type": "development"}, "name", id="of at least one letter"),
        pytest.param({"name": "x" * 51, "type": "development"}, "name", id="and at most fifty"),
        pytest.param({"name": "A", "type": "production"}, "type", id="no production without the operator's leave"),
    ],
)
async def test_an_environment_that_cannot_be(account: Account, body: Any, field: str) -> None:
    refused = await account.post("/environments", body, expect=400)
    assert refused["code"] == "validation_error"
    assert field in refused["details"]


async def test_the_type_of_an_environment_is_for_ever(account: Account) -> None:
    refused = await account.put(f"/environments/{account.environment_id}", {"type": "production"}, expect=400)
    assert "type" in refused["details"]
    assert (await account.put(f"/environments/{account.environment_id}", {}))["type"] == "development"


async def test_the_last_place_for_an_environment_is_taken_once(account: Account) -> None:
    body = {"name": "More", "type": "development"}
    answers = await asyncio.gather(*(account.http.post("/environments", json=body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400, 400]
    assert (await account.get("/environments"))["total"] == 2


async def test_times_of_an_environment_lose_their_fraction(account: Account) -> None:
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(Environment)
            .where(Environment.id == account.environment_id)
            .values(created_at=datetime(2024, 1, 2, 3, 4, 5, 999999, UTC))
        )
    assert (await account.get(f"/environments/{account.environment_id}"))["created_at"] == "2024-01-02T03:04:05Z"
