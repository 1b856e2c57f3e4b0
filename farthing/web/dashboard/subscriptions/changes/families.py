"""Customers who share a subscription whose owner pays: who they are, and taking some in or out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.schemas import AddOrRemove, SubscriptionModifyType
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.invoices.hooks import InvoiceHooks
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction, modify
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm

_MOST = 200


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A customer who shares a subscription, or has one that is invoiced with it; and that subscription."""

    customer_id: str
    external_id: str
    name: str
    subscription_id: str
    is_inherited: bool


async def family_of(session: AsyncSession, subscription: Subscription) -> Sequence[FamilyMember]:
    """Those below a subscription in its hierarchy, by name."""
    rows = await session.execute(
        select(Customer.id, Customer.external_id, Customer.name, Subscription.id, Subscription.subscription_type)
        .join(Customer, Customer.id == Subscription.customer_id)
        .where(
            Subscription.parent_subscription_id == subscription.id,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
        )
        .order_by(Customer.name, Subscription.id)
        .limit(_MOST)
    )
    return [FamilyMember(*row[:4], is_inherited=row[4] is SubscriptionType.INHERITED) for row in rows]


async def external_ids_of(session: AsyncSession, typed: str, field: str) -> list[str]:
    """The external ids of customers whose names, emails or ids somebody typed, between commas. Raises
    ValidationFailed."""
    found = []
    for each in (part.strip() for part in typed.split(",")):
        if each:
            customer = await session.get(Customer, await customer_id_of(session, each, field))
            if customer is None:
                raise ValidationFailed.of(field, f"nobody is called '{each}'")
            found.append(customer.external_id)
    return found


async def _options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    del form
    return {
        "members": [
            (member.external_id, member.name)
            for member in await family_of(session, subscription)
            if member.is_inherited
        ]
    }


async def _make(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    joining, leaving = form.text("joining"), form.text("leaving")
    if bool(joining) == bool(leaving):
        raise ValidationFailed.of("joining", "say who joins, or choose who leaves, and not both")
    if joining:
        ids = await external_ids_of(session, joining, "joining")
        params: dict[str, Any] = {
            "action": AddOrRemove.ADD.value,
            "external_customer_ids_to_inherit_subscription": ids,
        }
        facts: list[tuple[str, object]] = [("Shares it from now on", ", ".join(ids))]
    else:
        params = {"action": AddOrRemove.REMOVE.value, "external_customer_ids_to_remove": [leaving]}
        facts = [("Shares it no more", leaving)]
    body = {"type": SubscriptionModifyType.INHERITANCE.value, "inheritance_params": params}
    return await modify(session, subscription, body, now, effects, facts)


SHARE = SubscriptionAction(
    title="Share it",
    template="subscriptions/forms/share.html",
    confirm="Change who shares it",
    said="Who shares the subscription is changed.",
    options=_options,
    make=_make,
)
