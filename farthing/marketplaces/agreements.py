"""Letting a subscription stand for an agreement at a marketplace.

Rule: docs/rules/marketplaces.md#agreements
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.mappings import remember
from farthing.customers.tables import Customer, IntegrationEntityType
from farthing.marketplaces.reporting.hours import floor_to_hour
from farthing.marketplaces.schemas import (
    RegisterMarketplaceAgreementRequest,
    RegisterMarketplaceAgreementResponse,
    terms_of,
)
from farthing.marketplaces.tables import AgreementStatus, MarketplaceAgreement, UsageRecording
from farthing.payments.integrations.gateways import connection_to
from farthing.payments.integrations.mappings import image_of
from farthing.payments.tables import Connection
from farthing.storage.queries.rows import find, insert_if_new, lock_row, unique
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription


async def register(
    session: AsyncSession, given: RegisterMarketplaceAgreementRequest, now: datetime
) -> RegisterMarketplaceAgreementResponse:
    """Map a subscription, its customer and its plan to a marketplace, and record its usage from now on.

    The same again answers the same mappings. Raises NotFound; ValidationFailed without a connection, and for a
    subscription that is not active, or another's; AlreadyExists where the agreement or the subscription is taken.
    """
    customer = await find(session, Customer, given.customer_id)
    plan = await find(session, Plan, given.plan_id)
    # whoever registers the same subscription waits
    subscription = await lock_row(session, Subscription, given.subscription_id)
    connection = await _checked(session, given, subscription)
    provider = given.provider.value
    images = (
        (IntegrationEntityType.CUSTOMER, customer.id, given.account_id),
        (IntegrationEntityType.PLAN, plan.id, given.product_id),
        (IntegrationEntityType.SUBSCRIPTION, subscription.id, given.agreement_id),
    )
    ids = [await _mapped(session, kind, entity_id, provider, image) for kind, entity_id, image in images]
    await _keep(session, given, subscription, connection, now)
    return RegisterMarketplaceAgreementResponse(
        customer_mapping_id=ids[0], plan_mapping_id=ids[1], subscription_mapping_id=ids[2], status="active"
    )


async def _checked(
    session: AsyncSession, given: RegisterMarketplaceAgreementRequest, subscription: Subscription
) -> Connection:
    if subscription.customer_id != given.customer_id:
        raise ValidationFailed.of("customer_id", "must be the customer of the subscription")
    if subscription.plan_id != given.plan_id:
        raise ValidationFailed.of("plan_id", "must be the plan of the subscription")
    if subscription.subscription_status is not SubscriptionStatus.ACTIVE:
        raise ValidationFailed.of("subscription_id", "must be an active subscription")
    connection = await connection_to(session, given.provider.value)
    if connection is None:
        raise ValidationFailed.of("provider", f"'{given.provider.value}' is not connected")
    return connection


async def _mapped(session: AsyncSession, kind: IntegrationEntityType, entity_id: str, provider: str, image: str) -> str:
    """The mapping of an entity to its image, kept if it is there. Raises AlreadyExists for another image."""
    known = await image_of(session, kind, entity_id, provider)
    if known is None:
        return (await remember(session, kind, entity_id, provider, image, {"linked_via": "agreement"})).id
    if known.provider_entity_id != image:
        raise AlreadyExists(
            f"the {kind.value} is mapped to another id at {provider}",
            {"entity_id": entity_id, "provider_type": provider, "provider_entity_id": known.provider_entity_id},
        )
    return known.id


async def _keep(
    session: AsyncSession,
    given: RegisterMarketplaceAgreementRequest,
    subscription: Subscription,
    connection: Connection,
    now: datetime,
) -> None:
    known = await session.scalar(
        select(MarketplaceAgreement).where(
            MarketplaceAgreement.provider == given.provider.value,
            MarketplaceAgreement.subscription_id == subscription.id,
            MarketplaceAgreement.agreement_status == AgreementStatus.ACTIVE,
            MarketplaceAgreement.status == Status.PUBLISHED,
        )
    )
    if known is not None:
        known.terms, known.meter = terms_of(given), given.meter
        return
    hour = floor_to_hour(now)
    taken = AlreadyExists("the agreement stands for another subscription", {"agreement_id": given.agreement_id})
    async with unique(session, uq_marketplace_agreements_agreement=taken):
        session.add(
            MarketplaceAgreement(
                id=new_id(Kind.MARKETPLACE_AGREEMENT),
                provider=given.provider.value,
                agreement_id=given.agreement_id,
                subscription_id=subscription.id,
                customer_id=subscription.customer_id,
                plan_id=subscription.plan_id,
                connection_id=connection.id,
                terms=terms_of(given),
                meter=given.meter,
                records_from=hour,
            )
        )
    recording = UsageRecording(
        id=subscription.id,
        recorded_until=hour,
        period_start=subscription.full_period_start,
        period_end=subscription.current_period_end,
    )
    # one that is there goes on: another marketplace hears of the same records
    await insert_if_new(session, recording)
