"""Connections and their secrets, mappings, and what can be synchronised."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text, update

from farthing.core.errors import ServiceUnavailable
from farthing.identity.tables import Environment, EnvironmentType
from farthing.payments.integrations.credentials import Safe
from farthing.payments.integrations.gateways import sealed_for
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.payments.till import Till

LIVE = {
    "name": "Razorpay",
    "provider_type": "razorpay",
    "encrypted_secret_data": {"key_id": "rzp_1", "secret_key": "very-secret-words", "webhook_secret": "whsec-words"},
    "metadata": {"region": "in", "nested": {"any": [1, None]}},
    "sync_config": {"invoice": {"outbound": True}},
}


async def test_a_connection_shows_everything_but_its_secrets(till: Till) -> None:
    account = till.account
    made = await account.post("/connections", LIVE)
    assert made["id"].startswith("conn_")
    assert (made["name"], made["provider_type"], made["status"]) == ("Razorpay", "razorpay", "published")
    assert made["metadata"] == LIVE["metadata"]
    assert made["sync_config"]["invoice"]["outbound"] is True
    changed = await account.put(
        f"/connections/{made['id']}", {"name": "New", "encrypted_secret_data": {"secret_key": "other-words"}}
    )
    assert changed["name"] == "New"
    assert changed["metadata"] == LIVE["metadata"]
    listed = await account.get("/connections")
    assert set(listed) == {"connections", "total", "limit", "offset"}
    found = await account.post("/connections/search", {"provider_type": "razorpay", "limit": 5}, 200)
    assert (found["total"], found["limit"], found["offset"]) == (1, 5, 0)
    for answer in (made, changed, listed, found, await account.get(f"/connections/{made['id']}")):
        assert "words" not in str(answer)
        assert "secret" not in str(answer).replace("encrypted_secret_data", "")


async def test_secrets_are_sealed_at_rest_and_forgotten_when_deleted(till: Till) -> None:
    made = await till.account.post("/connections", LIVE)
    await till.account.put(f"/connections/{made['id']}", {"encrypted_secret_data": {"secret_key": "newer-words"}})
    query = text("SELECT credentials, credentials_key_id, environment_id FROM connections WHERE id = :id")
    async with till.account.transaction(read_only=True) as session:
        sealed, key_id, environment = (await session.execute(query, {"id": made["id"]})).one()
    assert b"words" not in sealed
    safe = Safe(till.account.settings.master_key())
    opened = safe.open(sealed, key_id, f"{environment}/{made['id']}")
    assert opened == {"key_id": "rzp_1", "secret_key": "newer-words", "webhook_secret": "whsec-words"}
    await till.account.delete(f"/connections/{made['id']}")
    async with till.account.transaction(read_only=True) as session:
        sealed, key_id, _ = (await session.execute(query, {"id": made["id"]})).one()
    assert (sealed, key_id) == (b"", "")
    assert (await till.account.get(f"/connections/{made['id']}"))["status"] == "archived"
    await till.account.put(f"/connections/{made['id']}", {"name": "x"}, 400)
    await till.account.delete(f"/connections/{made['id']}", 400)
    await till.account.post("/connections", LIVE)


def test_a_sealed_text_opens_only_for_its_owner_and_its_key() -> None:
    safe = Safe("a master key of some length")
    sealed = safe.seal({"a": "b"}, "env/conn")
    assert safe.seal({"a": "b"}, "env/conn") != sealed
    assert safe.open(sealed, safe.key_id, "env/conn") == {"a": "b"}
    for text_, key_id, owner in (
        (sealed, safe.key_id, "env/other"),
        (sealed, "another", "env/conn"),
        (sealed[:-1], safe.key_id, "env/conn"),
        (bytes([sealed[0] ^ 1]) + sealed[1:], safe.key_id, "env/conn"),
    ):
        with pytest.raises(ServiceUnavailable):
            safe.open(text_, key_id, owner)
    with pytest.raises(ServiceUnavailable):
        Safe("a different master key").open(sealed, safe.key_id[::-1], "env/conn")


async def test_an_environment_has_one_account_per_provider_but_many_buckets(till: Till) -> None:
    await till.account.post("/connections", LIVE)
    assert (await till.account.post("/connections", LIVE, 409))["code"] == "already_exists"
    for _ in range(2):
        await till.account.post("/connections", {"name": "bucket", "provider_type": "s3"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"name": ""}, "name", id="no name"),
        pytest.param({"name": "n" * 256}, "name", id="a name too long"),
        pytest.param({"provider_type": "paypal"}, "provider_type", id="an unknown provider"),
        pytest.param({"encrypted_secret_data": {"a": {"b": 1}}}, "encrypted_secret_data.a", id="secrets that nest"),
        pytest.param({"encrypted_secret_data": []}, "encrypted_secret_data", id="secrets that are a list"),
        pytest.param({"metadata": {str(n): n for n in range(51)}}, "metadata", id="too much metadata"),
        pytest.param({"sync_config": {"plan": {"outbound": True}}}, "sync_config.plan.outbound", id="plans going out"),
        pytest.param(
            {"sync_config": {"subscription": {"outbound": True}}},
            "sync_config.subscription.outbound",
            id="subscriptions going out",
        ),
        pytest.param(
            {"sync_config": {"invoice": {"inbound": True}}}, "sync_config.invoice.inbound", id="invoices coming in"
        ),
        pytest.param({"sync_config": {"deal": {"inbound": True}}}, "sync_config.deal.inbound", id="deals coming in"),
        pytest.param({"sync_config": {"quote": {"inbound": True}}}, "sync_config.quote.inbound", id="quotes coming in"),
        pytest.param({"sync_config": {"price": {"inbound": True}}}, "sync_config.price.inbound", id="prices coming in"),
        pytest.param({"provider_type": "hubspot", "metadata": {"mode": "test"}}, "metadata.mode", id="a simulated crm"),
    ],
)
async def test_what_is_wrong_with_a_connection_is_named(till: Till, change: dict[str, Any], field: str) -> None:
    answer = await till.account.post("/connections", {**LIVE, **change}, 400)
    assert list(answer["details"]) == [field]


async def test_production_environments_refuse_simulations(till: Till) -> None:
    async with till.account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(Environment)
            .where(Environment.id == till.account.environment_id)
            .values(type=EnvironmentType.PRODUCTION)
        )
    body = {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}}
    assert "metadata.mode" in (await till.account.post("/connections", body, 400))["details"]
    keys = {"secret_key": "sk_live_1"}
    made = await till.account.post("/connections", {**body, "metadata": {}, "encrypted_secret_data": keys})
    await till.account.put(f"/connections/{made['id']}", {"metadata": {"mode": "test"}}, 400)


async def test_the_configuration_names_what_is_possible_and_what_is_set(till: Till) -> None:
    await till.account.post("/connections", LIVE)
    entries = {entry["provider"]: entry for entry in (await till.account.get("/integrations/config"))["integrations"]}
    assert entries["razorpay"]["current_config"] == {"invoice": {"inbound": False, "outbound": True}}
    assert entries["stripe"]["base_config"]["customer"] == {"inbound": True, "outbound": True}
    assert "current_config" not in entries["stripe"]


def mapping(entity: str, image: str = "cus_1", **more: Any) -> dict[str, Any]:
    return {
        "entity_type": "customer",
        "entity_id": entity,
        "provider_type": "stripe",
        "provider_entity_id": image,
        **more,
    }


async def test_an_entity_is_linked_relinked_and_delinked(till: Till) -> None:
    account, customer = till.account, await till.desk.customer()
    answer = await account.post("/integrations/link", mapping(customer), 400)
    assert answer["details"] == {"provider_type": "'stripe' is not connected"}
    await till.connect()
    first = (await account.post("/integrations/link", mapping(customer, metadata={"a": 1}), 200))["mapping"]
    assert first["metadata"]["a"] == 1
    assert {"linked_via", "linked_at"} <= set(first["metadata"])
    second = (await account.post("/integrations/link", mapping(customer, "cus_2"), 200))["mapping"]
    assert (second["id"], second["provider_entity_id"]) == (first["id"], "cus_2")
    listed = await account.get("/integrations/mappings", entity_type="customer", entity_id=customer)
    assert [row["provider_entity_id"] for row in listed["items"]] == ["cus_2"]
    assert listed["pagination"]["total"] == 1
    body = {name: mapping(customer)[name] for name in ("entity_type", "entity_id", "provider_type")}
    for status in (200, 404):
        answer = await account.http.request("DELETE", "/integrations/link", json=body)
        assert answer.status_code == status, answer.text
    assert (await account.get("/integrations/mappings", entity_type="customer", entity_id=customer))["items"] == []


async def test_links_survive_many_repetitions(till: Till) -> None:
    """A prepared statement must still recognise the partial index it upserts by."""
    await till.connect()
    customer = await till.desk.customer()
    for n in range(12):
        await till.account.post("/integrations/link", mapping(customer, f"cus_{n}"), 200)


@pytest.mark.parametrize("entity_type", ["customer", "invoice", "payment", "plan", "addon", "price", "subscription"])
async def test_only_what_exists_can_be_linked(till: Till, entity_type: str) -> None:
    await till.connect()
    answer = await till.account.post("/integrations/link", mapping("nothing", entity_type=entity_type), 404)
    assert answer["code"] == "not_found"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "entity_type"),
        ({"entity_type": "customer"}, "entity_id"),
        ({"entity_type": "ghost", "entity_id": "x"}, "entity_type"),
    ],
)
async def test_mappings_are_asked_for_by_entity(till: Till, params: dict[str, str], field: str) -> None:
    assert field in (await till.account.get("/integrations/mappings", 400, **params))["details"]


@pytest.mark.parametrize("field", ["entity_type", "entity_id", "provider_type", "provider_entity_id"])
async def test_a_link_needs_all_its_parts(till: Till, field: str) -> None:
    body = {name: value for name, value in mapping("x").items() if name != field}
    assert (await till.account.post("/integrations/link", body, 400))["details"] == {field: "is required"}
    bad = {**mapping("x"), field: ""}
    assert (await till.account.post("/integrations/link", bad, 400))["code"] == "validation_error"


async def test_an_invoice_is_copied_once(till: Till) -> None:
    invoice = await till.invoice()
    body = {"entity_type": "invoice", "entity_id": invoice["id"]}
    assert (await till.account.post("/integrations/sync", body, 400))["code"] == "invalid_operation"
    await till.connect()
    for _ in range(2):
        answer = await till.account.post("/integrations/sync", body, 200)
        assert answer == {"message": "invoice synced successfully"}
    listed = await till.account.get("/integrations/mappings", **body)
    assert [row["provider_entity_id"] for row in listed["items"]] == [f"in_test_{invoice['id']}"]
    draft = await till.invoice(invoice_status="DRAFT")
    await till.account.post("/integrations/sync", {**body, "entity_id": draft["id"]}, 400)
    await till.account.post("/integrations/sync", {**body, "method": "pull"}, 501)
    await till.account.post("/integrations/sync", {**body, "entity_id": "inv_nowhere"}, 404)


async def test_the_published_client_links_and_lists(till: Till, account: Account) -> None:
    await till.connect()
    customer = await till.desk.customer()
    async with account.sdk() as client:
        linked = await client.integrations.link_integration_mapping_async(
            entity_id=customer, entity_type="customer", provider_entity_id="cus_9", provider_type="stripe"
        )
        assert linked.mapping
        assert linked.mapping.provider_entity_id == "cus_9"
        listed = await client.integrations.get_entity_integration_mappings_async(
            entity_type="customer", entity_id=customer
        )
        assert listed.items
        config = await client.integrations.get_integration_config_async()
        assert config.integrations
        gone = await client.integrations.delink_integration_mapping_async(
            entity_id=customer, entity_type="customer", provider_type="stripe"
        )
        assert gone.message


def test_sealed_credentials_open_in_their_own_row_under_their_own_key_alone() -> None:
    safe = Safe("a master key")
    sealed = safe.seal({"secret_key": "words"}, sealed_for("env_1", "conn_1"))
    assert safe.open(sealed, safe.key_id, sealed_for("env_1", "conn_1")) == {"secret_key": "words"}
    other = Safe("another master key")
    for opening, key_id, owner in (
        (safe, safe.key_id, sealed_for("env_1", "conn_2")),
        (safe, safe.key_id, sealed_for("env_2", "conn_1")),
        (other, safe.key_id, sealed_for("env_1", "conn_1")),
        (other, other.key_id, sealed_for("env_1", "conn_1")),
    ):
        with pytest.raises(ServiceUnavailable):
            opening.open(sealed, key_id, owner)
