"""What was given up: messages to endpoints and mails to customers that somebody should look at, counted.

Rule: docs/rules/webhooks.md#what-was-given-up
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CheckConstraint, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from farthing.core.enums import Status
from farthing.identity.tables import Environment
from farthing.notifications.email.tables import Email, EmailState
from farthing.notifications.webhooks.tables import DeliveryState, WebhookDelivery
from farthing.storage.postgres import scope_of
from farthing.storage.tables import Base, OfTenant


class UndeliveredCount(OfTenant, Base):
    """How much was given up in an environment, whose id it has, when it was last counted; no row means nothing."""

    __tablename__ = "undelivered_counts"
    label = "Undelivered count"

    messages: Mapped[int]
    emails: Mapped[int]

    __table_args__ = (CheckConstraint("messages >= 0 AND emails >= 0", name="not_negative"),)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Messages to endpoints that gave up, and parked mails."""

    messages: int
    emails: int


_KEEP = text(
    """
    INSERT INTO undelivered_counts AS kept (id, tenant_id, messages, emails)
    VALUES (:environment_id, :tenant_id, :messages, :emails)
    ON CONFLICT (id) DO UPDATE SET messages = EXCLUDED.messages, emails = EXCLUDED.emails
        WHERE (kept.messages, kept.emails) <> (EXCLUDED.messages, EXCLUDED.emails)
    """
)


async def undelivered_in_environment(session: AsyncSession) -> Undelivered:
    """What was given up in the session's environment and not sent again since."""
    messages = select(func.count()).where(WebhookDelivery.state == DeliveryState.FAILED).scalar_subquery()
    emails = select(func.count()).where(Email.state == EmailState.PARKED).scalar_subquery()
    given_up = (await session.execute(select(messages, emails))).one()
    return Undelivered(messages=given_up[0] or 0, emails=given_up[1] or 0)


async def count_undelivered(session: AsyncSession, now: datetime) -> int:
    """Keep what was given up in the session's environment where metrics find it. A duty, done at once: 0."""
    undelivered, scope = await undelivered_in_environment(session), scope_of(session)
    given = {"environment_id": scope.environment_id, "tenant_id": scope.tenant_id}
    await session.execute(_KEEP, given | {"messages": undelivered.messages, "emails": undelivered.emails})
    return 0


async def read_undelivered(session: AsyncSession) -> Undelivered:
    """What was given up in all live environments when each was last counted. The session must see all tenants."""
    row = UndeliveredCount
    sums = select(func.coalesce(func.sum(row.messages), 0), func.coalesce(func.sum(row.emails), 0))
    live = sums.join(Environment, Environment.id == row.id)
    messages, emails = (await session.execute(live.where(Environment.status == Status.PUBLISHED))).one()
    return Undelivered(int(messages), int(emails))
