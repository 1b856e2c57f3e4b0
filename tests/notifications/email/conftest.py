"""A deployment of its own whose mail goes to a server in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from farthing.core.enums import Status
from farthing.identity.credentials import keys
from farthing.identity.tables import Environment, EnvironmentType
from farthing.jobs.duties.duty import perform
from farthing.jobs.duties.schedule import duties
from farthing.notifications.email.tables import PasswordMail
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.notifications.email.mail_box import MailBox, mail_box
from tests.payments.till import Till


@dataclass
class MailRoom:
    """A server with mail, and the box that takes it."""

    settings: Settings
    database: Database
    base_url: str
    box: MailBox

    async def run(self, name: str, at: datetime | None = None) -> dict[str, int]:
        """Perform a duty once; what it counted."""
        (duty,) = (duty for duty in duties(self.database, self.settings) if duty.name == name)
        run = await perform(self.database, duty, at or datetime.now(UTC))
        return dict(run.counts or {})

    async def deliver(self) -> dict[str, int]:
        """Hand in what is due."""
        return await self.run("email_delivery")

    async def notice(self, at: datetime | None = None) -> dict[str, int]:
        """Queue what the calendar says."""
        return await self.run("email_notices", at)


class Seller(Account):
    """A tenant whose environment is a production one, with mail switched on."""

    till: Till

    async def become(self, type: EnvironmentType = EnvironmentType.PRODUCTION) -> None:
        async with self.database.transaction(SYSTEM) as session:
            await session.execute(update(Environment).where(Environment.id == self.environment_id).values(type=type))
            await keys.invalidate(session, self.environment_id)

    async def mail(self, **fields: Any) -> None:
        """Set fields of email_config."""
        await self.put("/settings/email_config", {"value": {"enabled": True, **fields}})

    async def emails(self, customer_id: str, **query: Any) -> list[dict[str, Any]]:
        """The mails to a customer, newest first."""
        items: list[dict[str, Any]] = (await self.get(f"/customers/{customer_id}/emails", **query))["items"]
        return items

    async def let_pass(self) -> None:
        """Let what waits for its next attempt be due."""
        async with self.transaction() as session:
            await session.execute(text("UPDATE emails SET next_attempt_at = now() WHERE state = 'queued'"))


@pytest.fixture(scope="session")
async def mail_room(new_database: Callable[..., str]) -> AsyncIterator[MailRoom]:
    async with mail_box() as box:
        settings = settings_for(
            new_database(),
            smtp_url=f"smtp://127.0.0.1:{box.port}",
            mail_from="billing@seller.example",
            public_url="https://billing.example.com",
        )
        assert settings.database_url is not None
        database = Database(settings.database_url, wire(), pool_size=10)
        async with running(settings, database) as base_url:
            yield MailRoom(settings, database, base_url, box)
        await database.close()


@pytest.fixture
def box(mail_room: MailRoom) -> MailBox:
    """The box, emptied and willing."""
    mail_room.box.received.clear()
    mail_room.box.answers.clear()
    mail_room.box.rcpt_answers.clear()
    mail_room.box.on_data = None
    return mail_room.box


@pytest.fixture
async def seller(mail_room: MailRoom, box: MailBox) -> AsyncIterator[Seller]:
    """A fresh tenant with mail on. Its environment is archived afterwards, so that nothing more is due there."""
    seller = Seller(mail_room.base_url, mail_room.settings, mail_room.database)
    async with seller:
        await seller.become()
        await seller.mail()
        seller.till = Till(seller)
        yield seller
        async with mail_room.database.transaction(SYSTEM) as session:
            archived = update(Environment).where(Environment.tenant_id == seller.tenant_id)
            await session.execute(archived.values(status=Status.ARCHIVED))
            await session.execute(delete(PasswordMail))
