"""A link to a document is a credential of a quarter of an hour: what ends it sooner, and what does not."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.identity.tables import Environment, InternalStatus, Tenant
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.invoices.desk import Desk, fixed
from tests.invoices.reads.test_reads import text_of


async def test_a_link_shows_the_invoice_as_it_stands_when_it_is_opened(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")])
    url = await _link(account, made["id"])
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    async with account.client() as anybody:
        opened = await anybody.get(url)
    assert opened.status_code == 200
    assert "VOIDED" in text_of(opened.content)


async def test_a_link_ends_when_its_customer_is_erased_and_a_later_one_opens_what_is_kept(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("10")])
    await account.put(f"/invoices/{made['id']}/payment", {"payment_status": "SUCCEEDED"})
    before = await _link(account, made["id"])
    answer = await account.post(f"/customers/{made['customer_id']}/erase", expect=200)
    assert answer["documents"]["count"] == 1
    async with account.client() as anybody:
        refused = await anybody.get(before)
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied"), refused.text
        async with account.transaction() as session:
            of_customer = update(Customer).where(Customer.id == made["customer_id"])
            await session.execute(of_customer.values(erased_at=Customer.erased_at - timedelta(minutes=1)))
        assert (await anybody.get(await _link(account, made["id"]))).status_code == 200


async def test_a_link_ends_with_its_environment_and_not_with_a_suspension(account: Account) -> None:
    """Whose tenant is suspended still reads."""
    made = await Desk(account).invoice([fixed("10")])
    url = await _link(account, made["id"])
    async with account.client() as anybody:
        async with account.database.transaction(SYSTEM) as session:
            tenant = update(Tenant).where(Tenant.id == account.tenant_id)
            await session.execute(tenant.values(internal_status=InternalStatus.SUSPENDED))
        assert (await anybody.get(url)).status_code == 200
        async with account.database.transaction(SYSTEM) as session:
            environment = update(Environment).where(Environment.id == account.environment_id)
            await session.execute(environment.values(status=Status.ARCHIVED))
        assert (await anybody.get(url)).status_code == 403


async def _link(account: Account, invoice_id: str) -> str:
    url: str = (await account.get(f"/invoices/{invoice_id}/pdf", url="true"))["presigned_url"]
    return url
