"""The published client, unchanged, against every identity operation it has."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from flexprice.models import errors

from tests.account import Account


async def test_users(account: Account) -> None:
    users = account.sdk().users
    me = await users.get_user_info_async()
    assert me.id == account.user_id
    assert me.type == "user"
    assert me.tenant is not None
    assert me.tenant.id == account.tenant_id
    assert me.tenant.created_at is not None
    assert me.tenant.created_at.microsecond == 0
    renamed = await users.update_user_async(name="Ada", metadata={"a": "1"})
    assert (renamed.name, renamed.metadata) == ("Ada", {"a": "1"})
    email = f"{uuid.uuid4().hex}@example.com"
    invited = await users.create_user_async(type_="user", email=email, roles=["all_reader"])
    assert invited.email == email
    assert invited.password is not None
    assert len(invited.password) == 16
    assert invited.id is not None
    promoted = await users.update_user_roles_async(id=invited.id, roles=["all_writer"])
    assert promoted.roles == ["all_writer"]
    robot = await users.create_user_async(type_="service_account", name="R2", roles=["event_ingestor"])
    assert robot.id is not None
    named = await users.update_service_account_async(id=robot.id, name="D2")
    assert named.name == "D2"
    found = await users.query_user_async(type_="service_account", roles=["event_ingestor"], limit=10)
    assert found.items is not None
    assert [item.name for item in found.items] == ["D2"]
    assert found.pagination is not None
    assert (found.pagination.total, found.pagination.limit, found.pagination.offset) == (1, 10, 10)
    await users.delete_service_account_async(id=robot.id)
    await users.remove_user_async(id=invited.id)
    found = await users.query_user_async(type_="user")
    assert found.items is not None
    assert [item.id for item in found.items] == [account.user_id]


async def test_secrets(account: Account) -> None:
    secrets = account.sdk().secrets
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    made = await secrets.create_api_key_async(name="ci", type_="private_key", expires_at=end)
    assert made.secret is not None
    assert made.secret.id is not None
    assert made.secret.provider == "flexprice"
    assert made.secret.expires_at == end
    assert made.api_key is not None
    assert (await account.sdk(made.api_key).users.get_user_info_async()).id == account.user_id
    listed = await secrets.list_api_keys_async(limit=1, offset=0)
    assert listed.items is not None
    assert [item.name for item in listed.items] == ["ci"]
    assert listed.pagination is not None
    assert (listed.pagination.total, listed.pagination.offset) == (2, 1)
    await secrets.delete_api_key_async(id=made.secret.id)
    with pytest.raises(errors.FlexpriceError) as refused:
        await account.sdk(made.api_key).users.get_user_info_async()
    assert refused.value.status_code == 401


async def test_tenants(account: Account) -> None:
    tenants = account.sdk().tenants
    changed = await tenants.update_tenant_async(
        name="Acme",
        billing_details={"email": "bills@example.com", "address": {"address_city": "Berlin"}},
        metadata={"a": "1"},
    )
    assert changed.name == "Acme"
    seen = await tenants.get_tenant_by_id_async(id=account.tenant_id)
    assert seen == changed
    assert seen.billing_details is not None
    assert seen.billing_details.address is not None
    assert seen.billing_details.address.address_city == "Berlin"


async def test_rbac(account: Account) -> None:
    rbac = account.sdk().rbac
    listed = await rbac.list_rbac_roles_async(user_type="user")
    assert [role["id"] for role in listed["roles"]] == ["super_admin", "all_reader", "all_writer"]
    one = await rbac.get_rbac_role_async(id="event_reader")
    assert one["role"]["permissions"] == {"event": ["read"]}


async def test_failures_are_the_clients_own_classes(account: Account) -> None:
    sdk = account.sdk()
    with pytest.raises(errors.ErrorResponse) as bad:
        await sdk.users.create_user_async(type_="user", email="nobody")
    assert bad.value.status_code == 400
    assert bad.value.data.code == "validation_error"
    assert bad.value.data.message.startswith("email: must ")
    assert bad.value.data.http_status_code == 400
    with pytest.raises(errors.FlexpriceError) as missing:
        await sdk.secrets.delete_api_key_async(id="secret_unknown")
    assert missing.value.status_code == 404
    with pytest.raises(errors.FlexpriceError) as unknown:
        await account.sdk("sk_nonsense").users.get_user_info_async()
    assert unknown.value.status_code == 401
    assert "Invalid API key" in unknown.value.body
