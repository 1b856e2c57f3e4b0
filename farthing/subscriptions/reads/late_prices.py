"""Prices that began after a subscription that is back-dated over them: what nobody will be charged for.

Rule: docs/rules/subscriptions.md#prices-that-begin-later
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.tables import Price
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.subscriptions.enums import LineItemOwner
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem, SubscriptionPhase


async def warn_of_late_prices(session: AsyncSession, subscription: Subscription, now: datetime) -> list[str]:
    """One sentence for each price of the plan or an addon that begins after the subscription or phase that has it.

    A price that begins where an earlier one ends continues it, and one that begins after `now` was meant to.
    """
    item = SubscriptionLineItem
    begins = func.coalesce(SubscriptionPhase.start_date, subscription.start_date)
    rows = await session.execute(
        select(item.display_name, begins, item.start_date)
        .join(Price, Price.id == item.price_id)
        .outerjoin(SubscriptionPhase, SubscriptionPhase.id == item.subscription_phase_id)
        .where(
            item.subscription_id == subscription.id,
            item.status == Status.PUBLISHED,
            item.entity_type.in_((LineItemOwner.PLAN, LineItemOwner.ADDON)),
            item.start_date == Price.start_date,
            item.start_date > begins,
            item.start_date <= now,
        )
        .order_by(item.start_date, item.id)
    )
    late = rows.all()
    ends = set(await session.scalars(select(item.end_date).where(item.subscription_id == subscription.id)))
    return [
        f"nobody is charged for {name} from {instant(since)} until {instant(start)}, when its price begins"
        for name, since, start in late
        if start not in ends
    ]
