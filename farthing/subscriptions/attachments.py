"""Coupons and entitlement overrides that a subscription is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingCycle, next_billing_date
from farthing.calendar.period import Period
from farthing.calendar.proration import first_period_coefficient
from farthing.catalogue.discounts import coupons
from farthing.catalogue.discounts.attaching import Attachment, attach
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.lifecycle import entitlements_of
from farthing.catalogue.entitlements.overriding import overriding
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.products.enums import FeatureType
from farthing.core.errors import ValidationFailed
from farthing.core.money import round_to
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.dates import recurrence
from farthing.subscriptions.enums import ProrationBehavior
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.schemas.requests import (
    OverrideEntitlementRequest,
    SubscriptionCouponInput,
    SubscriptionPhaseCreateRequest,
    SubscriptionTerms,
)
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.service_periods import service_period_at
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem, SubscriptionPhase


def periods_after(subscription: Subscription, start: datetime) -> Callable[[int], datetime]:
    """The moment that lies n billing periods after `start`, by the subscription's anchor."""
    rhythm = recurrence(subscription)

    def after(count: int) -> datetime:
        at = start
        for _ in range(count):
            at = next_billing_date(at, rhythm)
        return at

    return after


async def attach_to(
    session: AsyncSession, subscription: Subscription, coupon_id: str, to: Attachment, now: datetime
) -> CouponAssociation:
    """Attach a coupon, and find the first of its periods if it is for a number of them. Raises as `attach` does."""
    association = await attach(session, coupon_id, to, now)
    coupon = await session.get_one(CouponRow, coupon_id)  # in memory: attaching has locked it
    if coupon.cadence is CouponCadence.REPEATED:
        await count_periods(session, subscription, association)
    return association


async def count_periods(session: AsyncSession, subscription: Subscription, association: CouponAssociation) -> None:
    """Set the first of the periods that an attached coupon is for: that which holds its start, as long as no line of
    it stands on an invoice that is not void, else the next one.

    Rule: docs/rules/discounts-and-taxes.md#which-lines-a-coupon-discounts
    """
    snapshot = await loading.load_one(session, subscription.id)
    item_id = association.subscription_line_item_id
    item = None if item_id is None else snapshot.item(item_id)
    period = service_period_at(snapshot, item, association.start_date)
    begun = period.start >= snapshot.first_paid_at and period.start < association.start_date
    if period.start == association.start_date or (
        begun and not await ports_of(session, SubscriptionPorts).is_invoiced(session, subscription.id, period, item_id)
    ):
        association.counted_from = period.start
    else:
        association.counted_from = period.end


async def attach_coupons(
    session: AsyncSession,
    subscription: Subscription,
    asked: SubscriptionTerms | SubscriptionPhaseCreateRequest,
    items: Mapping[str, SubscriptionLineItem],
    now: datetime,
    phase: SubscriptionPhase | None = None,
) -> None:
    """Attach the coupons that a creation or one of its phases names; `items` are by the plan price they stand for.

    Raises NotFound for an unknown coupon, ValidationFailed for a price without a line item, and as `attach` does.
    """
    start = phase.start_date if phase else subscription.start_date
    end = phase.end_date if phase else None
    wanted: list[tuple[str, str | None, SubscriptionCouponInput | None]] = []
    for coupon_input in asked.subscription_coupons or ():
        coupon = await coupons.by_code(session, coupon_input.coupon_code)
        wanted.append((coupon.id, coupon_input.price_id, coupon_input))
    wanted += [(coupon_id, None, None) for coupon_id in asked.coupons or ()]
    wanted += [
        (coupon_id, price_id, None) for price_id, ids in (asked.line_item_coupons or {}).items() for coupon_id in ids
    ]
    for coupon_id, price_id, given in wanted:
        begins = (given.start_date if given else None) or start
        item = items.get(price_id) if price_id else None
        if price_id and item is None:
            raise ValidationFailed.of("subscription_coupons", f"'{price_id}' is not a price of the subscription")
        await attach_to(
            session,
            subscription,
            coupon_id,
            Attachment(
                subscription_id=subscription.id,
                currency=subscription.currency,
                start=begins,
                after_periods=periods_after(subscription, begins),
                end=(given.end_date if given else None) or end,
                line_item_id=item.id if item else None,
                phase_id=phase.id if phase else None,
            ),
            now,
        )


async def override_entitlements(
    session: AsyncSession, subscription: Subscription, overrides: Sequence[OverrideEntitlementRequest]
) -> None:
    """Let the subscription's own entitlements stand in for those of its plan. Raises NotFound, ValidationFailed."""
    for override in overrides:
        parent = await find(session, Entitlement, override.entitlement_id)
        if parent.entity_id != subscription.plan_id:
            raise ValidationFailed.of("entitlement_id", f"{parent.id} is not of the subscription's plan")
        session.add(
            overriding(
                parent,
                subscription.id,
                subscription.start_date,
                usage_limit=override.usage_limit,
                is_enabled=override.is_enabled,
                static_value=override.static_value,
                config_value=override.config_value,
            )
        )
    await session.flush()


async def prorate_entitlements(session: AsyncSession, subscription: Subscription, first: Period) -> None:
    """Scale the limits of the first, shorter calendar period.

    Rule: docs/rules/entitlements.md#first-shorter-period
    """
    if (
        subscription.billing_cycle is not BillingCycle.CALENDAR
        or subscription.proration_behavior is not ProrationBehavior.CREATE_PRORATIONS
    ):
        return
    share = first_period_coefficient(first, recurrence(subscription), first.start)
    if share == 1:
        return
    owned = await entitlements_of(session, EntitlementOwner.PLAN, [subscription.plan_id])
    for parent in owned[subscription.plan_id]:
        if parent.feature_type is not FeatureType.METERED or parent.usage_limit is None:
            continue
        scaled = overriding(
            parent,
            subscription.id,
            first.start,
            usage_limit=int(round_to(parent.usage_limit * share, 0)),
        )
        scaled.end_date = first.end
        session.add(scaled)
    await session.flush()


async def add_coupon(
    session: AsyncSession,
    subscription: Subscription,
    coupon_code: str,
    now: datetime,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    line_item_id: str | None = None,
    applied_invoices: int = 0,
) -> CouponAssociation:
    """Attach a coupon to a locked subscription, or to one of its line items, from now unless `start` says when.

    Raises NotFound, ValidationFailed, and InvalidOperation for a coupon that cannot be redeemed.
    """
    coupon = await coupons.by_code(session, coupon_code)
    if line_item_id is not None:
        item = await find(session, SubscriptionLineItem, line_item_id)
        if item.subscription_id != subscription.id:
            raise ValidationFailed.of("subscription_line_item_id", "is not a line item of the subscription")
    begins = start or now
    return await attach_to(
        session,
        subscription,
        coupon.id,
        Attachment(
            subscription_id=subscription.id,
            currency=subscription.currency,
            start=begins,
            after_periods=periods_after(subscription, begins),
            end=end,
            line_item_id=line_item_id,
            applied_invoices=applied_invoices,
        ),
        now,
    )


async def remove_coupon(
    session: AsyncSession, subscription: Subscription, association_id: str, at: datetime
) -> CouponAssociation:
    """Let an attached coupon discount no more from `at` on. Raises NotFound, ValidationFailed."""
    association = await lock_row(session, CouponAssociation, association_id)
    if association.subscription_id != subscription.id:
        raise ValidationFailed.of("coupon_association_id", "is not attached to the subscription")
    at = max(at, association.start_date)
    association.end_date = at if association.end_date is None else min(at, association.end_date)
    association.cut_at = at if association.cut_at is None else min(at, association.cut_at)
    return association
