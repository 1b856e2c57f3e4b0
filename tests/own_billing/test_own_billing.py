"""A host that bills its own tenants: taking them in, their bill, paying it, and what happens when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from flexprice import Flexprice

from farthing.identity.tables import UserType
from farthing.own_billing.host import BillingHost, find_host
from farthing.own_billing.tenants import adopt, sync_statuses, take_in
from farthing.own_billing.usage import send_daily_usage
from farthing.storage.postgres import Database
from tests.account import Account
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.invoices.desk import Desk, fixed
from tests.payments.till import Till
from tests.subscriptions.shop import fixed as fixed_price

GRACE = timedelta(days=14)
DETAILS = {
    "name": "Brightwater Analytics",
    "email": "billing@brightwater.example",
    "address_line1": "3 Harbour Street",
    "address_city": "Delft",
    "address_postal_code": "2611",
    "address_country": "NL",
}


@dataclass
class HostedTenant:
    """A tenant of a deployment whose host bills it, and the host's own account."""

    host: BillingHost
    owner: Account
    tenant: Account

    @property
    def office(self) -> Office:
        return Office(self.owner)

    async def customer(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.owner.get(f"/customers/external/{self.tenant.tenant_id}")
        return found

    async def pay(self, url: str) -> None:
        async with httpx.AsyncClient(timeout=60) as visitor:
            path = f"{self.owner.base_url}/v1/test/gateway/sessions/{url.rsplit('/', 1)[-1]}/succeed"
            assert (await visitor.post(path, json={})).status_code == 200

    async def status(self) -> str:
        return str((await self.tenant.get("/portal/billing/status"))["status"])


@asynccontextmanager
async def hosting(account: Account, database: Database) -> AsyncIterator[HostedTenant]:
    """A deployment whose host is this account, with a tenant that was taken in on the first of January 2026."""
    office = Office(account)
    await office.on("2026-01-01")
    plan = await office.plan(fixed_price("20"))
    stripe = {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}}
    await account.post("/connections", stripe)
    settings = settings_for(database.url, billing_environment=account.environment_id, billing_plan=plan["id"])
    async with running(settings, database) as url, Account(url, settings, database) as tenant:
        host = await find_host(database, settings)
        assert host is not None
        assert await take_in(host, tenant.tenant_id)
        yield HostedTenant(host, account, tenant)


@pytest.fixture
async def hosted(account: Account, database: Database) -> AsyncIterator[HostedTenant]:
    """A tenant that was taken in on the first of January 2026, and owes its first fee."""
    async with hosting(account, database) as hosted:
        yield hosted


async def test_a_deployment_that_bills_nobody_says_so(account: Account) -> None:
    assert await account.get("/portal/billing/status") == {"enabled": False, "status": "trialing"}
    for call in (account.get("/portal/billing/summary", expect=400), account.get("/portal/billing/checkout/x", 400)):
        assert "FARTHING_BILLING_ENVIRONMENT" in str(await call)
    for path, body in (("checkout", DETAILS), ("portal-session", {}), ("checkout/x/cancel", {})):
        refused = await account.post(f"/portal/billing/{path}", body, 400)
        assert "FARTHING_BILLING_ENVIRONMENT" in str(refused)


async def test_a_tenant_is_a_customer_of_its_host(hosted: HostedTenant) -> None:
    customer = await hosted.customer()
    assert customer["external_id"] == hosted.tenant.tenant_id
    assert await hosted.tenant.get("/portal/billing/status") == {"enabled": True, "status": "trialing"}
    summary = await hosted.tenant.get("/portal/billing/summary")
    assert summary["subscription_status"] == "active"
    (invoice,) = summary["invoices"]
    assert (invoice["total"], invoice["currency"], invoice["status"]) == ("20", "usd", "FINALIZED")
    assert invoice["pdf_url"].startswith("http")
    (subscribed,) = (await hosted.owner.post("/subscriptions/search", {}, expect=200))["items"]
    await hosted.owner.put(f"/subscriptions/{subscribed['id']}", {"metadata": {"risk": "noted-inside"}})
    for path in ("/tenants/billing", "/tenant/billing"):
        both = await hosted.tenant.get(path)
        assert [row["id"] for row in both["invoices"]] == [invoice["id"]]
        assert [row["id"] for row in both["subscriptions"]] == [subscribed["id"]]
        assert "noted-inside" not in str(both)
        assert hosted.owner.user_id not in str(both)


async def test_taken_in_twice_is_once(hosted: HostedTenant) -> None:
    answers = await asyncio.gather(*(take_in(hosted.host, hosted.tenant.tenant_id) for _ in range(3)))
    assert answers == [False] * 3
    assert not await take_in(hosted.host, hosted.host.scope.tenant_id)
    customer = await hosted.customer()
    found = await hosted.owner.get("/subscriptions", customer_id=customer["id"])
    assert found["pagination"]["total"] == 1


async def test_paying_makes_a_tenant_active(hosted: HostedTenant) -> None:
    begun = await hosted.tenant.post("/portal/billing/checkout", DETAILS, 200)
    assert (begun["status"], begun["terminal"], begun["tenant_status"]) == ("pending", False, "trialing")
    assert await hosted.tenant.post("/portal/billing/checkout", DETAILS, 200) == begun
    customer = await hosted.customer()
    assert (customer["name"], customer["address_city"]) == ("Brightwater Analytics", "Delft")
    await hosted.pay(begun["url"])
    polled = await hosted.tenant.get(f"/portal/billing/checkout/{begun['checkout_id']}")
    assert (polled["status"], polled["terminal"]) == ("completed", True)
    await sync_statuses(hosted.host, GRACE)
    assert await hosted.status() == "active"
    # there is nothing more to pay
    done = await hosted.tenant.post("/portal/billing/checkout", DETAILS, 200)
    assert (done["status"], done["terminal"], done.get("url")) == ("completed", True, None)
    await hosted.tenant.post(f"/portal/billing/checkout/{begun['checkout_id']}/cancel", {}, 400)


async def test_a_checkout_is_given_up_and_nobody_elses_is_seen(hosted: HostedTenant, stranger: Account) -> None:
    begun = await hosted.tenant.post("/portal/billing/checkout", DETAILS, 200)
    other = Account(hosted.tenant.base_url, hosted.tenant.settings, hosted.tenant.database)
    async with other:
        await other.get(f"/portal/billing/checkout/{begun['checkout_id']}", expect=400)  # it is not billed
    assert (await hosted.tenant.http.post(f"/portal/billing/checkout/{begun['checkout_id']}/cancel")).status_code == 204
    polled = await hosted.tenant.get(f"/portal/billing/checkout/{begun['checkout_id']}")
    assert (polled["status"], polled["terminal"]) == ("expired", True)
    await hosted.tenant.get("/portal/billing/checkout/pay_nobody", expect=404)


async def test_who_does_not_pay_is_suspended_until_he_does(hosted: HostedTenant) -> None:
    customer = await hosted.customer()
    await Desk(hosted.owner).invoice([fixed("5")], customer_id=customer["id"], due_date="2025-12-01T00:00:00Z")
    assert await sync_statuses(hosted.host, GRACE) == 1
    assert await hosted.status() == "suspended"
    refused = await hosted.tenant.post("/customers", {"external_id": "x", "name": "X"}, 403)
    assert "suspended" in str(refused)
    await hosted.tenant.get("/customers")
    # it sees its bill, and pays it
    assert (await hosted.tenant.post("/portal/billing/portal-session", {}, 200))["url"].startswith("http")
    while not (begun := await hosted.tenant.post("/portal/billing/checkout", DETAILS, 200))["terminal"]:
        await hosted.pay(begun["url"])
    await sync_statuses(hosted.host, GRACE)
    assert await hosted.status() == "active"
    await hosted.tenant.post("/customers", {"external_id": "x", "name": "X"})


async def test_the_hosts_books_are_out_of_a_tenants_reach(hosted: HostedTenant) -> None:
    """It knows the ids of its invoice and of its checkout, and says more than a checkout asks for."""
    tenant, customer = hosted.tenant, await hosted.customer()
    (invoice,) = (await tenant.get("/portal/billing/summary"))["invoices"]
    foreign = {"external_id": "mine", "metadata": {"a": "b"}, "billing_currency": "eur", "parent_customer_id": "x"}
    begun = await tenant.post("/portal/billing/checkout", {**DETAILS, **foreign}, 200)
    after = await hosted.customer()
    assert after["name"] == DETAILS["name"]
    assert [after.get(name) for name in foreign] == [customer.get(name) for name in foreign]
    for path in (f"/invoices/{invoice['id']}", f"/customers/{customer['id']}", f"/payments/{begun['checkout_id']}"):
        await tenant.get(path, 404)
    payment = Till.order(invoice, "20")
    assert "no such invoice" in str(await tenant.post("/payments", payment, 400))
    await tenant.post(f"/invoices/{invoice['id']}/void", {}, 404)
    assert (await hosted.owner.get(f"/invoices/{invoice['id']}"))["amount_remaining"] == "20"


async def test_who_only_reads_a_tenant_changes_nothing_at_its_host(hosted: HostedTenant) -> None:
    """Nor by the portal: what is bought and changed there is in the host's books."""
    begun = await hosted.tenant.post("/portal/billing/checkout", DETAILS, 200)
    async with hosted.tenant.client(await hosted.tenant.new_key(["all_reader"], owner_type=UserType.USER)) as reader:
        assert (await reader.get("/portal/billing/summary")).status_code == 200
        for path, body in (
            ("checkout", {**DETAILS, "name": "Other"}),
            (f"checkout/{begun['checkout_id']}/cancel", {}),
            ("portal-session", {}),
        ):
            assert (await reader.post(f"/portal/billing/{path}", json=body)).status_code == 403
    assert (await hosted.customer())["name"] == DETAILS["name"]
    assert (await hosted.tenant.get(f"/portal/billing/checkout/{begun['checkout_id']}"))["status"] == "pending"


@pytest.mark.parametrize("field", ["name", "email", "address_line1", "address_city", "address_postal_code"])
async def test_what_a_checkout_needs(hosted: HostedTenant, field: str) -> None:
    lacking = {name: value for name, value in DETAILS.items() if name != field}
    assert field in str(await hosted.tenant.post("/portal/billing/checkout", lacking, 400))
    assert field in str(await hosted.tenant.post("/portal/billing/checkout", {**DETAILS, field: ""}, 400))


async def test_a_day_is_sent_once(hosted: HostedTenant) -> None:
    await hosted.tenant.post("/events", {"event_name": "calls", "external_customer_id": "c"}, 202)
    tomorrow = hosted.host.database.clock.now() + timedelta(days=1)
    assert await send_daily_usage(hosted.host, tomorrow) == 1
    assert await send_daily_usage(hosted.host, tomorrow) == 1
    day = {"start_time": (tomorrow - timedelta(days=2)).isoformat(), "end_time": tomorrow.isoformat()}
    found = await hosted.owner.post("/events/query", {"external_customer_id": hosted.tenant.tenant_id, **day}, 200)
    (event,) = found["events"]
    assert (event["event_name"], event["properties"]["count"]) == ("farthing.events", 1)


async def test_tenants_that_were_there_before_are_adopted(alone: Account) -> None:
    """In a deployment of its own: in a shared one, every tenant of every other test would be adopted."""
    database, url = alone.database, alone.base_url
    async with Account(url, alone.settings, database) as earlier, hosting(alone, database) as hosted:
        assert await adopt(hosted.host) == 1
        found = await hosted.owner.get(f"/customers/external/{earlier.tenant_id}")
        assert found["external_id"] == earlier.tenant_id


async def test_the_published_client_pays_a_bill(hosted: HostedTenant) -> None:
    async with Flexprice(server_url=f"{hosted.tenant.base_url}/v1", api_key_auth=hosted.tenant.key) as client:
        status = await client.self_billing.get_self_billing_status_async()
        assert status.enabled
        begun = await client.self_billing.start_self_billing_checkout_async(**DETAILS)
        assert begun.checkout_id
        assert begun.url
        polled = await client.self_billing.poll_self_billing_checkout_async(id=begun.checkout_id)
        assert not polled.terminal
        summary = await client.self_billing.get_self_billing_summary_async()
        assert [invoice.total for invoice in summary.invoices or ()] == ["20"]
        assert (await client.self_billing.create_self_billing_portal_session_async()).url
        await client.self_billing.cancel_self_billing_checkout_async(id=begun.checkout_id)
