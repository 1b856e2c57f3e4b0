"""Taking back subscriptions that never came to be: drafts that nobody paid for, and creations whose payment failed."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.fx import rates
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.catalogue.taxes.tables import TaxAssociation
from farthing.core.enums import Status
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import lock_row
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.lifecycle import hierarchy
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.states import require
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem


async def discard_draft(session: AsyncSession, subscription_id: str) -> Subscription:
    """Archive a draft that nobody paid for, with all that belongs to it.

    Raises InvalidOperation for anything but a draft.
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    require(subscription, SubscriptionStatus.DRAFT, to="abandon")
    await _take_back(session, subscription, Status.ARCHIVED)
    return subscription


async def roll_back_creation(session: AsyncSession, subscription: Subscription) -> None:
    """Delete a locked subscription that must not stand, with all that was made with it."""
    await _take_back(session, subscription, Status.DELETED)


async def _take_back(session: AsyncSession, subscription: Subscription, status: Status) -> None:
    """Children, line items, addons, entitlements, taxes and credit grants go; coupons can be redeemed again.

    Children that waited with it were made with it: nobody else's subscription can join one that is not live.
    """
    gone = [subscription, *await hierarchy.children_of(session, subscription.id)]
    ids = [member.id for member in gone]
    redeemed = await session.scalars(
        update(CouponAssociation)
        .where(CouponAssociation.subscription_id.in_(ids), CouponAssociation.status == Status.PUBLISHED)
        .values(status=status)
        .returning(CouponAssociation.coupon_id)
    )
    for coupon_id, count in sorted(Counter(redeemed.all()).items()):
        less = func.greatest(CouponRow.total_redemptions - count, 0)
        await session.execute(update(CouponRow).where(CouponRow.id == coupon_id).values(total_redemptions=less))
    for table in (SubscriptionLineItem, AddonAssociation):
        await session.execute(
            update(table).where(table.subscription_id.in_(ids), table.status == Status.PUBLISHED).values(status=status)
        )
    await session.execute(
        update(Entitlement)
        .where(Entitlement.entity_type == EntitlementOwner.SUBSCRIPTION, Entitlement.entity_id.in_(ids))
        .values(status=status)
    )
    await session.execute(
        update(TaxAssociation)
        .where(TaxAssociation.entity_type == TaxEntityType.SUBSCRIPTION, TaxAssociation.entity_id.in_(ids))
        .values(status=status)
    )
    await rates.discard_of_subscriptions(session, ids, status)
    await ports_of(session, SubscriptionPorts).credit_grants.discard(session, ids, status)
    for member in gone:
        member.status = status
        await record_change(session, member)
