"""A deployment of its own, where webhooks may go to this machine, with its worker under way or by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import update

from farthing.core.clock import FixedClock
from farthing.core.enums import Status
from farthing.identity.tables import Environment
from farthing.notifications.webhooks.delivery.client import WebhookClient
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.delivery.worker import DeliveryWorker
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.notifications.receiver import Receiver, receiving


@dataclass
class PostOffice:
    """A server whose webhooks may go to this machine; `deliver` does what is due, once."""

    settings: Settings
    database: Database
    base_url: str

    def worker(self, at: datetime | None = None, *, allow_private: bool = True, seconds: float = 15) -> DeliveryWorker:
        client = WebhookClient(allow_private=allow_private, total_seconds=seconds)
        box = SecretsBox.under(self.settings.master_key())
        return DeliveryWorker(self.database, client, box, None if at is None else FixedClock(at))

    async def deliver(self, at: datetime | None = None, **given: Any) -> int:
        """Everything that is due now, or at a time."""
        return await self.worker(at, **given).run_once(30)

    @asynccontextmanager
    async def delivering(self, **given: Any) -> AsyncIterator[None]:
        """With a worker that goes on."""
        working = asyncio.create_task(self.worker(**given).run())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.wait({working})


@pytest.fixture(scope="session")
async def office(new_database: Callable[..., str]) -> AsyncIterator[PostOffice]:
    settings = settings_for(new_database(), webhook_allow_private=True)
    assert settings.database_url is not None
    database = Database(settings.database_url, wire(), pool_size=10)
    async with running(settings, database) as base_url:
        yield PostOffice(settings, database, base_url)
    await database.close()


@pytest.fixture
async def seller(office: PostOffice) -> AsyncIterator[Account]:
    """A fresh tenant of that server. Its environment is archived afterwards, so that nothing more is due there."""
    async with Account(office.base_url, office.settings, office.database) as account:
        yield account
        async with office.database.transaction(SYSTEM) as session:
            archived = update(Environment).where(Environment.tenant_id == account.tenant_id)
            await session.execute(archived.values(status=Status.ARCHIVED))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def make_endpoint(account: Account, url: str, **given: Any) -> Any:
    """A new endpoint, with its secret."""
    return await account.post("/webhooks/endpoints", {"url": url, **given})


async def make_customer(account: Account, external_id: str) -> Any:
    """A new customer: one event about an entity of its own."""
    return await account.post("/customers", {"external_id": external_id, "name": external_id})
