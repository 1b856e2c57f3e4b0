"""Which subscriptions have a grant: by their plan, by an addon, or of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.postgres import scope_of

_ANY = text(
    "SELECT EXISTS (SELECT FROM entitlements WHERE environment_id = :environment AND grant_measure IS NOT NULL "
    "AND status = 'published')"
)
_GRANTING = text(
    """
    SELECT subscription.id FROM subscriptions AS subscription
    WHERE subscription.environment_id = :environment AND subscription.status = 'published' AND subscription.id > :after
        AND subscription.subscription_type <> 'inherited'
        AND (
            subscription.subscription_status IN ('active', 'paused')
            OR (subscription.subscription_status = 'cancelled' AND subscription.cancelled_at > :since)
        )
        AND (CAST(:due_by AS timestamptz) IS NULL OR subscription.due_at <= :due_by)
        AND EXISTS (
            SELECT FROM entitlements AS entitlement
            WHERE entitlement.environment_id = :environment AND entitlement.grant_measure IS NOT NULL
                AND entitlement.status = 'published' AND (
                    entitlement.entity_id IN (subscription.plan_id, subscription.id) OR entitlement.entity_id IN (
                        SELECT addon_id FROM addon_associations
                        WHERE environment_id = :environment AND subscription_id = subscription.id
                    )
                )
        )
    ORDER BY subscription.id
    LIMIT :batch
    """
)


async def granting_subscriptions(
    session: AsyncSession, since: datetime, due_by: datetime | None, batch: int, after: str
) -> Sequence[str]:
    """The next subscriptions by id, `batch` at most, that have a grant and live, or were cancelled after `since`;
    with `due_by` only those that billing moves on by then."""
    environment = scope_of(session).environment_id
    if not await session.scalar(_ANY, {"environment": environment}):
        return []
    asked = {"environment": environment, "after": after, "since": since, "due_by": due_by, "batch": batch}
    return (await session.scalars(_GRANTING, asked)).all()
