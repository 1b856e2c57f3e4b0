"""Grants as callers make, change and end them.

Rule: docs/rules/credits.md#grants
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fields import require_published
from farthing.catalogue.plans.credit_grants import CreateCreditGrantRequest, CreditGrantScope
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.credits.grants.schemas import UpdateCreditGrantRequest
from farthing.credits.grants.subscribing import TERMS, begin, end_grants, grant_of, templates_of
from farthing.credits.grants.tables import CreditGrant
from farthing.customers.lookup import lock_for_use
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription


async def create(session: AsyncSession, request: CreateCreditGrantRequest, now: datetime) -> CreditGrant:
    """Make a template of a plan or an addon, or a grant of a subscription, which is applied as far as it is due.

    Raises NotFound, ValidationFailed, InvalidOperation.
    """
    if request.scope is CreditGrantScope.SUBSCRIPTION:
        return await _give(session, request, now)
    table = Plan if request.scope is CreditGrantScope.PLAN else Addon
    owner_id = request.plan_id if table is Plan else request.addon_id
    # the owner's lock lets nobody else add a template with other rates meanwhile
    owner = await lock_row(session, table, owner_id or "")
    require_published(owner)
    for template in await templates_of(session, request.scope, owner.id):
        for name in ("conversion_rate", "topup_conversion_rate"):
            if getattr(template, name) != getattr(request, name):
                raise ValidationFailed.of(name, f"must be that of the {table.label.lower()}'s other grants")
    grant = _template(request)
    session.add(grant)
    await session.flush()
    return grant


def _template(request: CreateCreditGrantRequest) -> CreditGrant:
    terms = {name: getattr(request, name) for name in TERMS}
    return CreditGrant(
        id=new_id(Kind.CREDIT_GRANT),
        scope=request.scope,
        plan_id=request.plan_id,
        addon_id=request.addon_id,
        meta=dict(request.metadata or {}),
        **terms,
    )


async def copy_templates(session: AsyncSession, templates: Sequence[IncludedCreditGrant], plan_id: str) -> None:
    """Give a new plan copies of another plan's templates, which may be of another environment."""
    for template in templates:
        terms = {name: getattr(template, name) for name in TERMS}
        body = {name: value for name, value in terms.items() if value is not None}
        body |= {"scope": CreditGrantScope.PLAN.value, "plan_id": plan_id, "metadata": template.metadata}
        session.add(_template(convert(body, CreateCreditGrantRequest, strict=False)))
    await session.flush()


async def _give(session: AsyncSession, request: CreateCreditGrantRequest, now: datetime) -> CreditGrant:
    found = await find(session, Subscription, request.subscription_id or "")
    await lock_for_use(session, found.customer_id)
    subscription = await lock_row(session, Subscription, found.id)
    if subscription.subscription_status is SubscriptionStatus.CANCELLED:
        raise InvalidOperation("The subscription is cancelled", {"subscription_id": subscription.id})
    if subscription.subscription_type is SubscriptionType.INHERITED:
        raise InvalidOperation(
            "An inherited subscription is granted nothing of its own", {"subscription_id": subscription.id}
        )
    grant = grant_of(subscription, request)
    await begin(session, subscription, [grant], now)
    return grant


async def update(session: AsyncSession, grant_id: str, request: UpdateCreditGrantRequest, now: datetime) -> CreditGrant:
    """Change what `request` names; an end date ends a subscription's grant then.

    Raises NotFound, ValidationFailed, InvalidOperation for a grant that was archived.
    """
    grant = await _locked(session, grant_id)
    require_published(grant)
    if request.end_date is not None:
        if grant.subscription_id is None:
            raise ValidationFailed.of("end_date", "goes with scope SUBSCRIPTION: templates have no dates")
        if request.end_date < now:
            raise ValidationFailed.of("end_date", "must not be in the past")
        assert grant.start_date is not None, "a subscription's grant has a start"
        if request.end_date < grant.start_date:
            raise ValidationFailed.of("end_date", f"must not be before {instant(grant.start_date)}, its start")
        if grant.end_date is not None and request.end_date > grant.end_date:
            raise ValidationFailed.of("end_date", f"must not be after {instant(grant.end_date)}, when it ends already")
        await end_grants(session, [grant.id], request.end_date)
    if request.name is not None:
        grant.name = request.name
    if request.metadata is not None:
        grant.meta = request.metadata
    await session.flush()
    return grant


async def delete(session: AsyncSession, grant_id: str, effective_date: datetime | None, now: datetime) -> CreditGrant:
    """Archive a template, or end a subscription's grant. Raises NotFound, ValidationFailed."""
    grant = await _locked(session, grant_id)
    if grant.subscription_id is None:
        if effective_date is not None:
            raise ValidationFailed.of("effective_date", "goes with scope SUBSCRIPTION: templates have no dates")
        grant.status = Status.ARCHIVED
        await session.flush()
        return grant
    await end_grants(session, [grant.id], effective_date or now)
    return grant


async def _locked(session: AsyncSession, grant_id: str) -> CreditGrant:
    """A grant, fresh and locked after its subscription."""
    found = await find(session, CreditGrant, grant_id)
    if found.subscription_id is not None:
        await lock_row(session, Subscription, found.subscription_id)
    return await lock_row(session, CreditGrant, grant_id)
