"""What is attached to a subscription beside its plan: addons and coupons, to add and to take away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.schemas import AddOrRemove, SubscriptionModifyType
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon
from farthing.catalogue.prices.tables import Price
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.money import plain
from farthing.invoices.hooks import InvoiceHooks
from farthing.subscriptions.enums import AddonStatus, SubscriptionStatus
from farthing.subscriptions.tables import AddonAssociation, Subscription
from farthing.web.dashboard.subscriptions.changes.charges import open_charges
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction, fee_choices, modify
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm, body_without_nothing
from farthing.web.rendering.words import wording

MOST = 200


@dataclass(frozen=True, slots=True)
class AddonOnSubscription:
    """An addon on a subscription, in force or to come."""

    association: AddonAssociation
    name: str


@dataclass(frozen=True, slots=True)
class CouponOnSubscription:
    """A coupon on a subscription, in force or to come."""

    association: CouponAssociation
    coupon: CouponRow


async def attached_addons(session: AsyncSession, subscription_id: str, at: datetime) -> list[AddonOnSubscription]:
    """The addons that are attached at `at` or later, earliest first."""
    table = AddonAssociation
    rows = await session.execute(
        select(table, Addon.name)
        .join(Addon, Addon.id == table.addon_id)
        .where(
            table.subscription_id == subscription_id,
            table.status == Status.PUBLISHED,
            table.addon_status == AddonStatus.ACTIVE,
            table.end_date.is_(None) | (table.end_date > at),
        )
        .order_by(table.start_date, table.id)
        .limit(MOST)
    )
    return [AddonOnSubscription(association, name) for association, name in rows]


async def attached_coupons(session: AsyncSession, subscription_id: str, at: datetime) -> list[CouponOnSubscription]:
    """The coupons that discount at `at` or later, in the order in which they do."""
    table = CouponAssociation
    rows = await session.execute(
        select(table, CouponRow)
        .join(CouponRow, CouponRow.id == table.coupon_id)
        .where(
            table.subscription_id == subscription_id,
            table.status == Status.PUBLISHED,
            table.end_date.is_(None) | (table.end_date > at),
            table.cut_at.is_(None) | (table.cut_at > at),
        )
        .order_by(table.created_at, table.id)
        .limit(MOST)
    )
    return [CouponOnSubscription(association, coupon) for association, coupon in rows]


def coupon_in_words(coupon: CouponRow) -> str:
    """ "Launch offer: 20% off, once"."""
    if coupon.amount_off is not None:
        worth = wording.money(coupon.amount_off, coupon.currency) if coupon.currency else plain(coupon.amount_off)
    else:
        worth = f"{plain(coupon.percentage_off)}%" if coupon.percentage_off is not None else ""
    often = f"for {coupon.duration_in_periods} periods" if coupon.duration_in_periods else coupon.cadence.value
    return f"{coupon.name}: {worth} off, {often}"


async def offered_coupons(session: AsyncSession, currency: str) -> list[CouponRow]:
    """The coupons on offer that fit a currency, by name."""
    rows = await session.scalars(
        select(CouponRow)
        .where(
            CouponRow.status == Status.PUBLISHED,
            CouponRow.currency.is_(None) | (CouponRow.currency == currency),
        )
        .order_by(CouponRow.name, CouponRow.id)
        .limit(MOST)
    )
    return list(rows)


async def offered_addons(session: AsyncSession, currency: str, at: datetime) -> list[tuple[str, str]]:
    """The addons that have a price in a currency, by name."""
    rows = await session.execute(
        select(Addon.id, Addon.name)
        .where(
            Addon.status == Status.PUBLISHED,
            select(Price.id)
            .where(
                Price.entity_type == PriceEntityType.ADDON,
                Price.entity_id == Addon.id,
                Price.status == Status.PUBLISHED,
                Price.currency == currency,
                Price.end_date.is_(None) | (Price.end_date > at),
            )
            .exists(),
        )
        .order_by(Addon.name, Addon.id)
        .limit(MOST)
    )
    return [(addon_id, name) for addon_id, name in rows]


async def _addon_options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    offered = await offered_addons(session, subscription.currency, form.as_of)
    chosen = form.text("addon_id")
    fees = []
    if chosen in dict(offered):
        fees = await fee_choices(session, PriceEntityType.ADDON, chosen, subscription.currency, form.as_of, None)
    return {"addons": offered, "fees": fees, "is_draft": subscription.subscription_status is SubscriptionStatus.DRAFT}


async def _add_addon(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    draft = subscription.subscription_status is SubscriptionStatus.DRAFT
    overrides = []
    for place, price_id in enumerate(form.of_lines("quantity")):
        form.places[f"override_line_items[{place}]"] = price_id
        overrides.append({"price_id": price_id, "quantity": form.number(f"quantity:{price_id}")})
    added = body_without_nothing(
        **form.given("addon_id", "cadence", "proration_behavior"),
        start_date=None if draft else instant(form.as_of),
        override_line_items=overrides,
    )
    return await modify(session, subscription, _of_addon(AddOrRemove.ADD, added), now, effects)


async def _attached_addon_options(
    session: AsyncSession, subscription: Subscription, form: TypedForm
) -> Mapping[str, Any]:
    attached = await attached_addons(session, subscription.id, form.as_of)
    return {
        "attached": [
            (addon.association.id, addon.name) for addon in attached if addon.association.cancelled_at is None
        ],
        "period_ends": subscription.current_period_end,
    }


async def _remove_addon(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    at_once = form.text("when") == "now"
    removed = body_without_nothing(
        **form.given("addon_association_id", "reason"),
        proration_behavior=form.text("proration_behavior") if at_once else "",
        effective_date=instant(form.as_of) if at_once else None,
    )
    ends = form.as_of if at_once else subscription.current_period_end
    facts = [("Ends", wording.moment(ends, subscription.timezone))]
    return await modify(session, subscription, _of_addon(AddOrRemove.REMOVE, removed), now, effects, facts)


def _of_addon(action: AddOrRemove, what: Mapping[str, Any]) -> dict[str, Any]:
    params = {"action": action.value, action.value: dict(what)}
    return {"type": SubscriptionModifyType.ADDON.value, "addon_params": params}


async def _coupon_options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    coupons = await offered_coupons(session, subscription.currency)
    charges = await open_charges(session, subscription, form.as_of)
    return {
        "coupons": [(coupon.coupon_code, coupon_in_words(coupon)) for coupon in coupons if coupon.coupon_code],
        "charges": [(charge.item.id, charge.name) for charge in charges],
    }


async def _add_coupon(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    params = {
        "action": AddOrRemove.ADD.value,
        "start_date": instant(max(form.as_of, subscription.start_date)),
        **form.given("coupon_code", "subscription_line_item_id"),
    }
    body = {"type": SubscriptionModifyType.COUPON.value, "coupon_params": params}
    return await modify(session, subscription, body, now, effects)


async def _attached_coupon_options(
    session: AsyncSession, subscription: Subscription, form: TypedForm
) -> Mapping[str, Any]:
    attached = await attached_coupons(session, subscription.id, form.as_of)
    return {"attached": [(coupon.association.id, coupon_in_words(coupon.coupon)) for coupon in attached]}


async def _remove_coupon(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    params = {
        "action": AddOrRemove.REMOVE.value,
        "end_date": instant(form.as_of),
        **form.given("coupon_association_id"),
    }
    body = {"type": SubscriptionModifyType.COUPON.value, "coupon_params": params}
    facts = [("Ends", wording.moment(form.as_of, subscription.timezone))]
    return await modify(session, subscription, body, now, effects, facts)


ADD_ADDON = SubscriptionAction(
    title="Add an addon",
    template="subscriptions/forms/add_addon.html",
    confirm="Add it",
    said="The addon is added.",
    options=_addon_options,
    make=_add_addon,
)
REMOVE_ADDON = SubscriptionAction(
    title="Remove an addon",
    template="subscriptions/forms/remove_addon.html",
    confirm="Remove it",
    said="The addon is removed as shown.",
    options=_attached_addon_options,
    make=_remove_addon,
)
ADD_COUPON = SubscriptionAction(
    title="Add a coupon",
    template="subscriptions/forms/add_coupon.html",
    confirm="Add it",
    said="The coupon is added.",
    options=_coupon_options,
    make=_add_coupon,
)
REMOVE_COUPON = SubscriptionAction(
    title="Remove a coupon",
    template="subscriptions/forms/remove_coupon.html",
    confirm="Remove it",
    said="The coupon is removed.",
    options=_attached_coupon_options,
    make=_remove_coupon,
)
