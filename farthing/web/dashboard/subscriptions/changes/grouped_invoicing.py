"""Subscriptions that are invoiced together: each has its own charges, and one of them pays for all on one invoice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.schemas import AddOrRemove, SubscriptionModifyType
from farthing.catalogue.plans.tables import Plan
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.invoices.hooks import InvoiceHooks
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.lifecycle.hierarchy import mismatch
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction, modify
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm

_MOST = 500


async def _options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    del form
    if subscription.subscription_type is SubscriptionType.GROUPED_INVOICING:
        return {"joinable": [], "members": [(subscription.id, "This one")]}
    return {"joinable": await _joinable(session, subscription), "members": await _members(session, subscription)}


async def _joinable(session: AsyncSession, parent: Subscription) -> list[tuple[str, str]]:
    """Those that bill alongside a subscription and stand alone, with whose they are."""
    rows = await session.execute(
        select(Subscription, Customer.name, Plan.name)
        .join(Customer, Customer.id == Subscription.customer_id)
        .join(Plan, Plan.id == Subscription.plan_id)
        .where(
            Subscription.id != parent.id,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_type == SubscriptionType.STANDALONE,
            Subscription.parent_subscription_id.is_(None),
            Subscription.active_pause_id.is_(None),
            Subscription.subscription_status.in_((SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING)),
            Subscription.currency == parent.currency,
            Subscription.billing_period == parent.billing_period,
            Subscription.billing_period_count == parent.billing_period_count,
        )
        .order_by((Subscription.customer_id == parent.customer_id).desc(), Customer.name, Plan.name, Subscription.id)
        .limit(_MOST)
    )
    return [(row.id, f"{customer}: {plan}") for row, customer, plan in rows if mismatch(parent, row) is None]


async def _members(session: AsyncSession, parent: Subscription) -> list[tuple[str, str]]:
    rows = await session.execute(
        select(Subscription.id, Customer.name, Plan.name)
        .join(Customer, Customer.id == Subscription.customer_id)
        .join(Plan, Plan.id == Subscription.plan_id)
        .where(
            Subscription.parent_subscription_id == parent.id,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_type == SubscriptionType.GROUPED_INVOICING,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
        )
        .order_by(Customer.name, Plan.name, Subscription.id)
        .limit(_MOST)
    )
    return [(subscription_id, f"{customer}: {plan}") for subscription_id, customer, plan in rows]


async def _make(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    joining, leaving = form.text("joining"), form.text("leaving")
    if bool(joining) == bool(leaving):
        raise ValidationFailed.of(
            "joining", "choose one that is invoiced with it, or one that is no more, and not both"
        )
    action, fact = (
        (AddOrRemove.ADD, "Invoiced together from the next period on")
        if joining
        else (AddOrRemove.REMOVE, "Invoiced by itself again")
    )
    child = await session.get(Subscription, joining or leaving)
    owner = None if child is None else await session.get(Customer, child.customer_id)
    if owner is None:
        raise ValidationFailed.of("joining" if joining else "leaving", "must be chosen from the list")
    params = {"action": action.value, "child_subscription_ids": [joining or leaving]}
    body = {"type": SubscriptionModifyType.GROUPED_INVOICING.value, "grouped_invoicing_params": params}
    return await modify(session, subscription, body, now, effects, [(fact, owner.name)])


INVOICE_TOGETHER = SubscriptionAction(
    title="Invoice together",
    template="subscriptions/forms/invoice_together.html",
    confirm="Change what is invoiced together",
    said="What is invoiced together is changed.",
    options=_options,
    make=_make,
)
