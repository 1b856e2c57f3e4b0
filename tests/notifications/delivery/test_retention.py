"""Attempts and deliveries that have ended are forgotten when they are old; what is on its way is not."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from farthing.core.clock import FixedClock
from farthing.notifications.webhooks.delivery.retention import forget_old_deliveries
from farthing.notifications.webhooks.tables import DeliveryState, WebhookDelivery
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Receiver, answering


async def test_what_has_ended_is_forgotten_after_ninety_days(
    office: PostOffice, seller: Account, receiver: Receiver
) -> None:
    receiver.answers["/hook"] = answering(200, 500)
    await make_endpoint(seller, f"{receiver.url}/hook")
    for name in ("delivered", "on its way"):
        await make_customer(seller, name)
        await office.deliver()

    async def forgotten(at: datetime) -> int:
        async with seller.transaction() as session:
            session.info["real_clock"] = FixedClock(at)
            return await forget_old_deliveries(session, at)

    now = office.database.clock.now()
    assert await forgotten(now + timedelta(days=89)) == 0
    assert await forgotten(now + timedelta(days=91)) == 3, "two attempts, and the delivery that ended"
    async with seller.transaction() as session:
        gone = update(WebhookDelivery).values(state=DeliveryState.FAILED, finished_at=now)
        await session.execute(gone)
    assert await forgotten(now + timedelta(days=91)) == 1
    async with seller.transaction(read_only=True) as session:
        created = select(func.count()).where(SystemEvent.event_name == "customer.created")
        assert await session.scalar(created) == 2, "the events stay"
