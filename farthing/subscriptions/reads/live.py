"""Who still subscribes: the SQL behind the invoice summary's live currencies, and what keeps a customer from going."""

from __future__ import annotations

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

_LIVE = "status = 'published' AND subscription_status <> 'cancelled'"  # as the partial indexes say it
_SELECT = "SELECT currency, created_at, id FROM subscriptions WHERE"

INCURRED = f"{_SELECT} {_LIVE} AND customer_id = $1"
"""Live subscriptions that the customer `$1` owns: currency, created_at, id."""

PAID = f"{_SELECT} {_LIVE} AND payer_id = $1"
"""Those it pays for."""

EITHER = f"{INCURRED} UNION ALL {PAID} AND customer_id <> $1"
"""Those it owns or pays for, each once; one branch per index."""


async def nothing_live(session: AsyncSession, customer_id: str) -> None:
    """Raise InvalidOperation while the customer owns or pays for a subscription that is not cancelled."""
    count = await session.scalar(
        select(func.count())
        .select_from(Subscription)
        .where(
            or_(Subscription.customer_id == customer_id, Subscription.payer_id == customer_id),
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
        )
    )
    if count:
        raise InvalidOperation(
            "Please cancel all subscriptions before deleting the customer",
            {"customer_id": customer_id, "subscriptions": count},
        )
