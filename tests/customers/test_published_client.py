"""The published client speaks to customers as to the service it was made for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flexprice import models
from flexprice.models.errors import ErrorResponse, FlexpriceDefaultError, FlexpriceError

from tests.account import Account


async def test_every_operation_on_a_customer(account: Account) -> None:
    sdk = account.sdk()
    made = await sdk.customers.create_customer_async(
        external_id="acme",
        name="Acme",
        email="a@acme.example",
        timezone="Europe/Paris",
        billing_currency="EUR",
        tax_treatment="exempt",
        contact_persons=[{"first_name": "Ada", "is_primary": True}],
        metadata={"k": "v"},
        integration_entity_mapping=[
            {"entity_id": "acme", "entity_type": "customer", "provider_type": "stripe", "provider_entity_id": "cus_1"}
        ],
        skip_onboarding_workflow=True,
    )
    assert made.id is not None
    assert (made.external_id, made.billing_currency, made.status) == ("acme", "eur", "published")
    assert made.created_at is not None
    assert made.created_at.tzinfo is not None
    assert made.contact_persons is not None
    assert made.contact_persons[0].first_name == "Ada"

    assert await sdk.customers.get_customer_async(id=made.id) == made
    assert await sdk.customers.get_customer_by_external_id_async(external_id="acme") == made

    changed = await sdk.customers.update_customer_async(external_customer_id="acme", name="Acme AG", contact="123")
    assert (changed.name, changed.contact, changed.metadata) == ("Acme AG", "123", {"k": "v"})
    changed = await sdk.customers.update_customer_async(id=made.id, external_id="acme-2")
    assert changed.metadata == {"k": "v", "old_external_ids": "acme"}

    found = await sdk.customers.query_customer_async(
        external_ids=["acme-2"],
        filters=[
            {"field": "name", "operator": "contains", "data_type": "string", "value": {"string": "acme"}},
            {
                "field": "created_at",
                "operator": "after",
                "data_type": "date",
                "value": {"date_": "2020-01-01T00:00:00Z"},
            },
        ],
        sort=[{"field": "name", "direction": "asc"}],
        expand="integrations",
        metadata={"k": "v"},
        limit=10,
        start_time=datetime(2020, 1, 1, tzinfo=UTC),
    )
    assert found.items is not None
    assert [customer.id for customer in found.items] == [made.id]
    assert found.items[0].integrations is not None
    assert found.items[0].integrations[0].provider_entity_id == "cus_1"
    assert found.pagination == models.PaginationResponse(total=1, limit=10, offset=10)

    session = await sdk.customers.create_customer_portal_session_async(external_id="acme-2")
    assert session.token
    assert session.expires_at is not None
    assert session.expires_at > datetime.now(UTC)

    await sdk.customers.delete_customer_async(id=made.id)
    assert (await sdk.customers.get_customer_async(id=made.id)).status == "archived"


async def test_errors_arrive_as_the_clients_own(account: Account) -> None:
    sdk = account.sdk()
    with pytest.raises(ErrorResponse) as bad:
        await sdk.customers.create_customer_async(external_id="a", name="A", email="nobody")
    assert bad.value.status_code == 400
    assert bad.value.data.code == "validation_error"
    with pytest.raises(ErrorResponse) as unknown:
        await sdk.customers.get_customer_by_external_id_async(external_id="a")
    assert unknown.value.data.code == "not_found"
    await sdk.customers.create_customer_async(external_id="a", name="A")
    with pytest.raises(FlexpriceDefaultError) as twice:  # the contract does not list 409 for this operation
        await sdk.customers.create_customer_async(external_id="a", name="A")
    assert twice.value.status_code == 409
    assert "already_exists" in twice.value.body
    with pytest.raises(FlexpriceError) as missing:
        await sdk.customers.get_customer_async(id="cust_x")
    assert missing.value.status_code == 404


async def test_an_id_with_a_slash_is_reached_by_encoding_it(account: Account) -> None:
    sdk = account.sdk()
    made = await sdk.customers.create_customer_async(external_id="a/b", name="A")
    assert (await sdk.customers.get_customer_by_external_id_async(external_id="a%2Fb")).id == made.id
