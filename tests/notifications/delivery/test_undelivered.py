"""What was given up is counted for whoever is on call, and takes no process out of service."""

from __future__ import annotations

from io import StringIO

import httpx
from rich.console import Console
from sqlalchemy import update

from farthing.core.ids import Kind, new_id
from farthing.doctor.examination import examine
from farthing.jobs.duties.duty import perform
from farthing.jobs.duties.schedule import duties
from farthing.notifications.email.tables import Email, EmailKind, EmailState
from farthing.notifications.webhooks.tables import DeliveryState, WebhookDelivery
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Receiver, answering
from tests.waiting import until


async def _metrics(office: PostOffice) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{office.base_url}/metrics")).text.splitlines()
    return {name: float(value) for name, _, value in (line.partition(" ") for line in lines if line[0] != "#")}


async def _park_mail(account: Account) -> None:
    now = account.database.clock.now()
    async with account.transaction() as session:
        session.add(
            Email(
                id=new_id(Kind.EMAIL),
                kind=EmailKind.REMINDER,
                entity_id="inv_1",
                occasion="once",
                customer_id="cust_1",
                details={},
                state=EmailState.PARKED,
                queued_at=now,
                next_attempt_at=now,
                created_at=now,
                finished_at=now,
            )
        )


async def _count(office: PostOffice) -> None:
    (duty,) = (duty for duty in duties(office.database, office.settings) if duty.name == "undelivered_count")
    await perform(office.database, duty, office.database.clock.now())


async def test_what_was_given_up_is_counted_and_told(office: PostOffice, seller: Account, receiver: Receiver) -> None:
    before = await _metrics(office)
    receiver.answers["/hook"] = answering(500)
    await make_endpoint(seller, f"{receiver.url}/hook")
    await make_customer(seller, "one")
    await office.deliver()
    async with seller.transaction() as session:
        given_up = update(WebhookDelivery).values(state=DeliveryState.FAILED, finished_at=office.database.clock.now())
        await session.execute(given_up)
    await _park_mail(seller)
    await _count(office)

    async def counted() -> bool:
        """Answers are a second old at most."""
        now = await _metrics(office)
        names = ("farthing_webhook_given_up", "farthing_email_parked")
        return all(now[name] == before[name] + 1 for name in names)

    assert await until(counted)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{office.base_url}/health/ready")).status_code == 200
    written = StringIO()
    await examine(office.settings, office.database, Console(file=written, width=200))
    assert f"{seller.environment_id}: 1 messages, 1 mails" in written.getvalue()
