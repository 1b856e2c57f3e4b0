"""How much is on its way, and since when, is known to whoever is on call."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import httpx
from rich.console import Console

from farthing.doctor.examination import examine
from farthing.notifications.webhooks.tables import WebhookEnvironment
from tests.account import Account
from tests.notifications.conftest import PostOffice, make_customer, make_endpoint
from tests.notifications.receiver import Receiver, answering
from tests.waiting import until


async def test_the_backlog_is_kept_measured_and_told(office: PostOffice, seller: Account, receiver: Receiver) -> None:
    receiver.answers["/hook"] = answering(500, 200)
    await make_endpoint(seller, f"{receiver.url}/hook")
    await seller.freeze(office.database.clock.now() + timedelta(days=2_000))  # real times are told all the same
    await make_customer(seller, "one")
    before = office.database.clock.now() - timedelta(minutes=1)
    await office.deliver()
    async with seller.transaction() as session:
        row = await session.get_one(WebhookEnvironment, seller.environment_id)
    assert row.backlog == 1
    assert row.oldest_at is not None
    assert before < row.oldest_at < before + timedelta(minutes=5)

    async def backlog_in_metrics() -> float:
        """Answers are a second old at most."""
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"{office.base_url}/metrics")).text.splitlines()
        values = dict(line.split() for line in metrics if line.startswith("farthing_webhook_"))
        assert float(values["farthing_webhook_oldest_seconds"]) >= 0
        return float(values["farthing_webhook_backlog"])

    assert await until(backlog_in_metrics) >= 1
    told = StringIO()
    await examine(office.settings, office.database, Console(file=told, width=200))
    (line,) = [line for line in told.getvalue().splitlines() if line.startswith("webhooks")]
    assert "on their way, the oldest since" in line
    await office.deliver(office.database.clock.now() + timedelta(minutes=1))
    async with seller.transaction() as session:
        row = await session.get_one(WebhookEnvironment, seller.environment_id, populate_existing=True)
    assert (row.backlog, row.oldest_at) == (0, None)
