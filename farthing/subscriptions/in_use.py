"""What subscriptions use of the catalogue, for whoever wants to retire it, and how coupons show their line items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ARRAY, ColumnElement, String, cast, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.subscriptions.enums import AddonStatus, LineItemOwner, SubscriptionStatus
from farthing.subscriptions.reads.answers import item_answers
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem


async def live_subscriptions_of_plan(session: AsyncSession, plan_id: str) -> Mapping[str, int]:
    """Subscriptions to a plan that are not over."""
    count = await session.scalar(
        select(func.count()).where(
            Subscription.plan_id == plan_id,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
        )
    )
    return {"subscriptions": count or 0}


async def uses_of_addon(session: AsyncSession, addon_id: str) -> Mapping[str, int]:
    """Active associations of an addon, and line items it brought that have no end."""
    active = await session.scalar(
        select(func.count()).where(
            AddonAssociation.addon_id == addon_id,
            AddonAssociation.status == Status.PUBLISHED,
            AddonAssociation.addon_status != AddonStatus.CANCELLED,
        )
    )
    items = await session.scalar(
        select(func.count()).where(
            SubscriptionLineItem.entity_type == LineItemOwner.ADDON,
            SubscriptionLineItem.entity_id == addon_id,
            SubscriptionLineItem.status == Status.PUBLISHED,
            SubscriptionLineItem.end_date.is_(None),
        )
    )
    return {"active_associations": active or 0, "line_items": items or 0}


async def uses_of_meter(session: AsyncSession, meter_id: str) -> Mapping[str, int]:
    """Line items that a meter measures and that have no end."""
    count = await session.scalar(
        select(func.count()).where(
            SubscriptionLineItem.meter_id == meter_id,
            SubscriptionLineItem.status == Status.PUBLISHED,
            SubscriptionLineItem.end_date.is_(None),
        )
    )
    return {"subscription_line_items": count or 0}


async def line_item_answers(
    session: AsyncSession, ids: Sequence[str], with_prices: bool
) -> Mapping[str, dict[str, Any]]:
    """Line items by id as they travel, for coupons that are attached to them."""
    rows = (await session.scalars(select(SubscriptionLineItem).where(SubscriptionLineItem.id.in_(ids)))).all()
    answers = await item_answers(session, rows, {"prices"} if with_prices else set())
    return {answer.id: msgspec.to_builtins(answer) for answer in answers}


async def find_companions(session: AsyncSession, owner_id: str, other_ids: Sequence[str]) -> Sequence[str]:
    """Those of these plans, addons and subscriptions that stand in one live subscription with `owner_id`."""
    live = (Subscription.status == Status.PUBLISHED, Subscription.subscription_status != SubscriptionStatus.CANCELLED)
    other = func.unnest(cast(list(other_ids), ARRAY(String))).table_valued("id").render_derived(name="other")
    together = exists().where(*live, _has(literal(owner_id)), _has(other.c.id))
    return (await session.scalars(select(other.c.id).where(together))).all()


def _has(owner_id: ColumnElement[str]) -> ColumnElement[bool]:
    attached = exists().where(
        AddonAssociation.subscription_id == Subscription.id,
        AddonAssociation.addon_id == owner_id,
        AddonAssociation.status == Status.PUBLISHED,
        AddonAssociation.addon_status != AddonStatus.CANCELLED,
    )
    return or_(Subscription.id == owner_id, Subscription.plan_id == owner_id, attached)
