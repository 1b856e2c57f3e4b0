"""A customer is created, changed and archived; what each step keeps, refuses and tells."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import event, update

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.customers.lookup import lock_for_use
from farthing.customers.tables import Customer
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import CustomerOnboarding
from farthing.subscriptions.lifecycle import creation
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from tests.account import Account
from tests.customers.conftest import Told, new_customer
from tests.invoices.desk import Desk
from tests.subscriptions.shop import Shop, fixed, of_wire
from tests.waiting import until_waited_for

EVERYTHING = {
    "external_id": "acme",
    "name": "Acme GmbH",
    "email": "billing@acme.example",
    "contact": "+49 30 123456",
    "address_line1": "Unter den Linden 1",
    "address_line2": "2. Stock",
    "address_city": "Berlin",
    "address_state": "BE",
    "address_postal_code": "10117",
    "address_country": "DE",
    "timezone": "Europe/Berlin",
    "metadata": {"crm": "42"},
    "billing_currency": "EUR",
    "tax_treatment": "exempt",
    "contact_persons": [{"first_name": "Ada", "email": "ada@acme.example", "is_primary": True}],
}


async def test_a_customer_is_given_back_as_it_was_sent(account: Account) -> None:
    made = await account.post("/customers", EVERYTHING)
    (person,) = made["contact_persons"]
    assert person["id"]
    assert {**made, "contact_persons": [{**person, "id": ""}]}.items() >= {
        **EVERYTHING,
        "billing_currency": "eur",
        "contact_persons": [{"id": "", "first_name": "Ada", "email": "ada@acme.example", "is_primary": True}],
    }.items()
    assert made["id"].startswith("cust_")
    assert made["status"] == "published"
    assert made["tenant_id"] == account.tenant_id
    assert made["environment_id"] == account.environment_id
    assert made["created_by"] == made["updated_by"] == account.user_id
    assert await account.get(f"/customers/{made['id']}") == made
    assert await account.get("/customers/external/acme") == made
    assert await account.get("/customers/lookup/acme") == made
    assert (await account.get("/customers"))["items"] == [made]


async def test_what_is_not_given_is_sent_empty(account: Account) -> None:
    made = await new_customer(account)
    texts = ["email", "address_line1", "address_line2", "address_city", "address_state"]
    assert {made[name] for name in [*texts, "address_postal_code", "address_country"]} == {""}
    assert made["timezone"] == "UTC"
    assert made["tax_treatment"] == "taxable"
    assert made["metadata"] == {}
    assert made["contact_persons"] == []
    assert made.get("contact") is None
    assert "integrations" not in made


async def test_of_twenty_creations_at_once_one_succeeds(account: Account, told: Told) -> None:
    body = {"external_id": "acme", "name": "Acme"}
    answers = await asyncio.gather(*(account.http.post("/customers", json=body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert refused["code"] == "already_exists"
    assert refused["message"] == "A customer with this identifier already exists"
    assert refused["details"] == {"external_id": "acme"}
    assert (await account.get("/customers"))["pagination"]["total"] == 1
    assert [name for name, _ in await told()] == ["customer.created"]


async def test_archiving_frees_the_external_id(account: Account) -> None:
    first = await new_customer(account)
    await account.delete(f"/customers/{first['id']}")
    second = await new_customer(account)
    assert second["id"] != first["id"]
    assert (await account.get("/customers/external/acme"))["id"] == second["id"]
    assert (await account.get(f"/customers/{first['id']}"))["status"] == "archived"
    assert [c["id"] for c in (await account.get("/customers"))["items"]] == [second["id"]]
    assert [c["id"] for c in (await account.get("/customers", status="archived"))["items"]] == [first["id"]]


async def test_an_archived_customer_is_neither_looked_up_changed_nor_archived_again(account: Account) -> None:
    made = await new_customer(account)
    await account.delete(f"/customers/{made['id']}")
    await account.get("/customers/external/acme", expect=404)
    await account.get("/customers/lookup/acme", expect=404)
    refused = await account.put(f"/customers/{made['id']}", {"name": "B"}, expect=400)
    assert refused["code"] == "invalid_operation"
    gone = await account.delete(f"/customers/{made['id']}", expect=404)
    assert gone["message"] == "Customer does not exist"


async def test_only_what_is_given_changes(account: Account) -> None:
    await account.freeze(datetime(2026, 1, 1, tzinfo=UTC))
    made = await account.post("/customers", EVERYTHING)
    await account.freeze(datetime(2026, 1, 2, tzinfo=UTC))
    changed = await account.put(f"/customers/{made['id']}", {"name": "Acme AG", "email": None})
    assert changed == {**made, "name": "Acme AG", "updated_at": "2026-01-02T00:00:00Z"}


async def test_empty_text_clears_what_may_be_empty(account: Account) -> None:
    made = await account.post("/customers", EVERYTHING)
    clearable = ["email", "contact", "address_line1", "address_country", "timezone", "billing_currency"]
    changed = await account.put(f"/customers/{made['id']}", {**dict.fromkeys(clearable, ""), "contact_persons": []})
    assert changed["email"] == changed["address_line1"] == changed["address_country"] == ""
    assert changed["timezone"] == "UTC"
    assert "contact" not in changed
    assert "billing_currency" not in changed
    assert changed["contact_persons"] == []


async def test_metadata_given_replaces_what_was_there(account: Account) -> None:
    made = await new_customer(account, metadata={"a": "1", "b": "2"})
    changed = await account.put(f"/customers/{made['id']}", {"metadata": {"c": "3"}})
    assert changed["metadata"] == {"c": "3"}
    changed = await account.put(f"/customers/{made['id']}", {"metadata": None})
    assert changed["metadata"] == {"c": "3"}
    changed = await account.put(f"/customers/{made['id']}", {"metadata": {}})
    assert changed["metadata"] == {}


async def test_former_external_ids_are_remembered_in_order(account: Account) -> None:
    made = await new_customer(account, "one")
    path = f"/customers/{made['id']}"
    assert (await account.put(path, {"external_id": "two"}))["metadata"] == {"old_external_ids": "one"}
    assert (await account.put(path, {"external_id": "two"}))["metadata"] == {"old_external_ids": "one"}
    assert (await account.put(path, {"external_id": "three"}))["metadata"] == {"old_external_ids": "one,two"}
    replaced = await account.put(path, {"external_id": "four", "metadata": {"a": "b"}})
    assert replaced["metadata"] == {"a": "b", "old_external_ids": "one,two,three"}
    await account.get("/customers/external/one", expect=404)
    assert (await account.get("/customers/external/four"))["id"] == made["id"]


async def test_remembered_external_ids_never_outgrow_a_metadata_value(account: Account) -> None:
    made = await new_customer(account, "a" * 255)
    path = f"/customers/{made['id']}"
    for letter in "bcd":
        changed = await account.put(path, {"external_id": letter * 255})
    assert changed["metadata"]["old_external_ids"] == "c" * 255
    again = await account.put(path, {"metadata": changed["metadata"]})
    assert again["metadata"] == changed["metadata"]


async def test_an_external_id_in_use_cannot_be_taken(account: Account) -> None:
    await new_customer(account, "one")
    two = await new_customer(account, "two")
    refused = await account.put(f"/customers/{two['id']}", {"external_id": "one", "name": "X"}, expect=409)
    assert refused["details"] == {"external_id": "one"}
    assert await account.get(f"/customers/{two['id']}") == two


async def test_two_customers_racing_for_one_external_id(account: Account) -> None:
    made = [await new_customer(account, f"c{n}") for n in range(8)]
    answers = await asyncio.gather(
        *(account.http.put(f"/customers/{c['id']}", json={"external_id": "prize"}) for c in made)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


class TestThreeWaysToNameTheCustomerToUpdate:
    async def test_each_names_it(self, account: Account) -> None:
        made = await new_customer(account)
        ways = [f"/customers/{made['id']}", f"/customers?id={made['id']}", "/customers?external_customer_id=acme"]
        both = f"/customers?id={made['id']}&external_customer_id=acme"
        for n, way in enumerate([*ways, both]):
            assert (await account.put(way, {"name": f"N{n}"}))["name"] == f"N{n}"

    async def test_neither_is_refused(self, account: Account) -> None:
        for query in ("", "?id=", "?external_customer_id=", "?id=&external_customer_id="):
            refused = await account.put(f"/customers{query}", {"name": "X"}, expect=400)
            assert refused["code"] == "validation_error"

    async def test_two_that_disagree_are_refused(self, account: Account) -> None:
        one, _ = await new_customer(account, "one"), await new_customer(account, "two")
        refused = await account.put(f"/customers?id={one['id']}&external_customer_id=two", {"name": "X"}, expect=400)
        assert "id" in refused["details"]

    async def test_an_unknown_one_is_not_found(self, account: Account) -> None:
        for query in ("?id=cust_x", "?external_customer_id=x", "/cust_x"):
            await account.put(f"/customers{query}", {"name": "X"}, expect=404)


async def test_what_happens_is_told_with_a_snapshot_of_the_moment(account: Account, told: Told) -> None:
    made = await new_customer(account, email="a@b.example", address_country="FR", metadata={"k": "v"})
    path = f"/customers/{made['id']}"
    await account.put(path, {"name": "New"})
    await account.put(path, {"name": "New", "metadata": {"k": "v"}, "external_id": "acme"})  # changes nothing
    await account.put(path, {})
    await account.put(path, {"name": ""}, expect=400)
    await account.delete(path)
    snapshot = {
        "id": made["id"],
        "external_id": "acme",
        "environment_id": account.environment_id,
        "name": "Acme",
        "email": "a@b.example",
        "address_country": "FR",
        "timezone": "UTC",
        "metadata": {"k": "v"},
    }
    assert await told() == [
        ("customer.created", {"event_type": "customer.created", "customer": snapshot}),
        ("customer.updated", {"event_type": "customer.updated", "customer": {**snapshot, "name": "New"}}),
        ("customer.deleted", {"event_type": "customer.deleted", "customer": {**snapshot, "name": "New"}}),
    ]


class TestDeletion:
    async def test_unpaid_invoices_forbid_it_only_for_those_who_insist(self, account: Account) -> None:
        made = await new_customer(account)
        path = f"/customers/{made['id']}"
        for _ in range(2):
            await Desk(account).invoice(customer=made["id"])
        refused = await account.delete(f"{path}?require_settled=true", expect=400)
        assert (refused["code"], refused["details"]["unpaid_invoice_count"]) == ("invalid_operation", 2)
        assert (await account.get(path))["status"] == "published"
        await account.delete(path)

    async def test_a_deletion_waits_for_whoever_holds_the_customer_and_sees_what_they_did(
        self, account: Account
    ) -> None:
        shop = Shop(account)
        made = await shop.customer()
        plan = await shop.plan(fixed("5"))

        async with account.transaction() as session:
            await lock_for_use(session, made["id"])
            deletion_under_way = asyncio.create_task(account.http.delete(f"/customers/{made['id']}"))
            await until_waited_for(session)
            body = {"customer_id": made["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
            await creation.create(session, of_wire(CreateSubscriptionRequest, body), shop.now)
        assert (await deletion_under_way).status_code == 400

    async def test_nobody_holds_an_archived_or_unknown_customer(self, account: Account) -> None:
        made = await new_customer(account)
        await account.delete(f"/customers/{made['id']}")
        async with account.transaction() as session:
            with pytest.raises(InvalidOperation):
                await lock_for_use(session, made["id"])

    async def test_of_two_deletions_at_once_one_succeeds(self, account: Account, told: Told) -> None:
        made = await new_customer(account)
        answers = await asyncio.gather(*(account.http.delete(f"/customers/{made['id']}") for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5
        assert [name for name, _ in await told()].count("customer.deleted") == 1

    async def test_an_unreadable_require_settled_is_refused(self, account: Account) -> None:
        made = await new_customer(account)
        await account.delete(f"/customers/{made['id']}?require_settled=perhaps", expect=400)


async def test_a_tombstone_is_never_read(account: Account) -> None:
    made = await new_customer(account)
    async with account.transaction() as session:
        await session.execute(update(Customer).where(Customer.id == made["id"]).values(status=Status.DELETED))
    await account.get(f"/customers/{made['id']}", expect=404)
    await account.delete(f"/customers/{made['id']}", expect=404)
    assert (await account.get("/customers", status="deleted"))["items"] == []


class TestTaxes:
    async def test_taxes_are_linked_in_the_same_transaction(self, account: Account, told: Told) -> None:
        await account.post("/taxes/rates", {"name": "VAT", "code": "VAT", "percentage_value": "19"})
        named = {"tax_rate_code": "VAT", "currency": "EUR"}
        made = await new_customer(account, "named", tax_rate_overrides=[named])
        (link,) = (await account.get("/taxes/associations", entity_id=made["id"]))["items"]
        assert (link["currency"], link["auto_apply"]) == ("eur", True)
        unknown = {**named, "tax_rate_code": "GST"}
        await account.post("/customers", {"external_id": "b", "name": "B", "tax_rate_overrides": [unknown]}, expect=404)
        await account.get("/customers/external/b", expect=404)
        assert [name for name, _ in await told()].count("customer.created") == 1


class TestMappingsToOtherSystems:
    async def test_both_pairs_of_names_are_understood_and_shown_on_request(self, account: Account) -> None:
        made = await new_customer(
            account,
            integration_entity_mapping=[
                {"provider": "stripe", "id": "cus_1"},
                {
                    "provider_type": "hubspot",
                    "provider_entity_id": "h1",
                    "entity_type": "customer",
                    "entity_id": "acme",
                    "metadata": {"deep": {"er": [1]}},
                },
            ],
        )
        shown = await account.get(f"/customers/{made['id']}", expand="integrations")
        first, second = shown["integrations"]
        assert first["id"].startswith("eim_")
        assert (first["entity_type"], first["entity_id"]) == ("customer", made["id"])
        assert (first["provider_type"], first["provider_entity_id"]) == ("stripe", "cus_1")
        assert (second["provider_type"], second["metadata"]) == ("hubspot", {"deep": {"er": [1]}})
        assert "." not in first["created_at"]
        listed = (await account.get("/customers", expand="integrations"))["items"][0]
        assert listed["integrations"] == shown["integrations"]
        by_external_id = await account.get("/customers/external/acme", expand="integrations")
        assert by_external_id == shown

    async def test_an_update_replaces_the_provider_given_and_keeps_the_others(self, account: Account) -> None:
        mappings = [{"provider": "stripe", "id": "cus_1"}, {"provider": "hubspot", "id": "h1"}]
        made = await new_customer(account, integration_entity_mapping=mappings)
        path = f"/customers/{made['id']}"
        await account.put(path, {"integration_entity_mapping": [{"provider": "stripe", "id": "cus_2"}]})
        shown = (await account.get(path, expand="integrations"))["integrations"]
        assert {m["provider_type"]: m["provider_entity_id"] for m in shown} == {"stripe": "cus_2", "hubspot": "h1"}

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param([{"provider": "stripe"}], id="no id at the provider"),
            pytest.param([{"id": "x"}], id="no provider"),
            pytest.param([{"provider": "a", "id": "x", "entity_type": "plan"}], id="another kind of entity"),
            pytest.param([{"provider": "a", "id": "x", "entity_id": "cust_other"}], id="another customer"),
            pytest.param([{"provider": "a", "id": "x"}, {"provider_type": "a", "id": "y"}], id="a provider twice"),
            pytest.param([{"provider": "a", "id": "x", "entity_type": "tiger"}], id="an unknown kind of entity"),
        ],
    )
    async def test_a_mapping_that_makes_no_sense_is_refused(self, account: Account, bad: Any) -> None:
        body = {"external_id": "a", "name": "A", "integration_entity_mapping": bad}
        await account.post("/customers", body, expect=400)
        await account.get("/customers/external/a", expect=404)

    async def test_expansion_does_not_cost_one_query_per_customer(self, account: Account) -> None:
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        engine = account.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        counts = []
        for n in range(3):
            await new_customer(account, f"c{n}", integration_entity_mapping=[{"provider": "stripe", "id": f"s{n}"}])
            statements.clear()
            found = await account.post("/customers/search", {"expand": "integrations"}, expect=200)
            counts.append(sum("integration_mappings" in statement for statement in statements))
        event.remove(engine, "before_cursor_execute", note)
        assert counts == [1, 1, 1]
        assert [c["integrations"][0]["provider_entity_id"] for c in found["items"]] == ["s2", "s1", "s0"]

    async def test_another_expansion_is_refused(self, account: Account) -> None:
        made = await new_customer(account)
        for path in (f"/customers/{made['id']}", "/customers", "/customers/external/acme"):
            refused = await account.get(path, expand="invoices", expect=400)
            assert refused["details"]["field"] == "invoices"


class TestOnboardingWorkflows:
    async def test_an_unknown_one_is_refused_before_anything_is_written(self, account: Account, told: Told) -> None:
        for more in ({}, {"skip_onboarding_workflow": True}):
            body = {"external_id": "a", "name": "A", "onboarding_workflow_name": "vip", **more}
            refused = await account.post("/customers", body, expect=400)
            assert "vip" in refused["details"]["onboarding_workflow_name"]
        assert await told() == []

    async def test_a_known_one_is_accepted(self, account: Account) -> None:
        async with account.transaction() as session:
            given = {"custom_workflows": msgspec.Raw(b'{"vip":[]}')}
            await current.write(session, CustomerOnboarding, given)
        await new_customer(account, onboarding_workflow_name="vip")
        await new_customer(account, "other", onboarding_workflow_name="")
