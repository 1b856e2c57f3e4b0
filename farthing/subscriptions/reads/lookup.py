"""Finding subscriptions and line items."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.storage.queries.listing import PageStatements, one_of, page_statements, select_page
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.schemas.responses import SubscriptionLineItemFilter, SubscriptionQuery
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

MOST_OF_CUSTOMER = 1000

SEARCHABLE = (
    "id",
    "customer_id",
    "plan_id",
    "lookup_key",
    "subscription_status",
    "subscription_type",
    "currency",
    "billing_anchor",
    "billing_cycle",
    "billing_period",
    "billing_period_count",
    "start_date",
    "end_date",
    "current_period_start",
    "current_period_end",
    "cancelled_at",
    "cancel_at",
    "cancel_at_period_end",
    "trial_start",
    "trial_end",
    "pause_status",
    "collection_method",
    "payment_behavior",
    "invoicing_customer_id",
    "parent_subscription_id",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)
ITEMS_SEARCHABLE = (
    "id",
    "subscription_id",
    "customer_id",
    "entity_id",
    "entity_type",
    "price_id",
    "price_type",
    "meter_id",
    "display_name",
    "quantity",
    "currency",
    "billing_period",
    "invoice_cadence",
    "start_date",
    "end_date",
    "addon_association_id",
    "subscription_phase_id",
    "status",
    "created_at",
    "updated_at",
)


def page_of_subscriptions(query: SubscriptionQuery) -> PageStatements:
    """One page of the subscriptions that meet all of `query`, and how many there are."""
    return page_statements(Subscription, query, SEARCHABLE, _narrowed(query))


def _narrowed(query: SubscriptionQuery) -> Select[Subscription]:
    table = Subscription
    statement = select(table)
    for column, wanted in (
        (table.id, query.subscription_ids),
        (table.customer_id, query.customer_ids),
        (table.invoicing_customer_id, query.invoicing_customer_ids),
        (table.parent_subscription_id, query.parent_subscription_ids),
        (table.subscription_status, query.subscription_status),
        (table.subscription_type, query.subscription_type),
        (table.billing_cadence, query.billing_cadence),
        (table.billing_period, query.billing_period),
    ):
        if wanted:
            statement = statement.where(one_of(column, wanted))
    if query.customer_id:
        statement = statement.where(table.customer_id == query.customer_id)
    if query.plan_id:
        statement = statement.where(table.plan_id == query.plan_id)
    if query.external_customer_id:
        # one customer at most, so the list stays index-served
        owner = select(Customer.id).where(
            Customer.external_id == query.external_customer_id, Customer.status == Status.PUBLISHED
        )
        statement = statement.where(table.customer_id.in_(owner))
    if query.active_at:
        statement = statement.where(
            table.start_date <= query.active_at, or_(table.end_date.is_(None), table.end_date > query.active_at)
        )
    if query.effective_date_for_update:
        at = query.effective_date_for_update
        statement = statement.where(or_(table.current_period_end <= at, table.cancel_at <= at))
    if query.trial_end_due_lte:
        statement = statement.where(table.trial_end <= query.trial_end_due_lte)
    return statement


async def entitling(
    session: AsyncSession, customer_id: str, subscription_ids: Sequence[str] = ()
) -> list[Subscription]:
    """A customer's subscriptions that are active or trialing, oldest first, of these ids if there are any."""
    table = Subscription
    query = select(table).where(
        table.customer_id == customer_id,
        table.status == Status.PUBLISHED,
        table.subscription_status.in_([SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING]),
    )
    if subscription_ids:
        query = query.where(table.id.in_(subscription_ids))
    rows = await session.scalars(query.order_by(table.created_at, table.id).limit(MOST_OF_CUSTOMER))
    return list(rows)


async def search_items(
    session: AsyncSession, query: SubscriptionLineItemFilter, now: datetime
) -> tuple[Sequence[SubscriptionLineItem], int]:
    """One page of the line items that meet all of `query`, and how many there are.

    `active_filter` keeps those not ended by `current_period_start`, or by `now` without it.
    """
    table = SubscriptionLineItem
    statement = select(table)
    for column, wanted in (
        (table.id, query.subscription_line_item_ids),
        (table.subscription_id, query.subscription_ids),
        (table.customer_id, query.customer_ids),
        (table.price_id, query.price_ids),
        (table.meter_id, query.meter_ids),
        (table.currency, [code.lower() for code in query.currencies or ()]),
        (table.billing_period, query.billing_periods),
        (table.entity_id, query.entity_ids),
        (table.addon_association_id, query.addon_association_ids),
    ):
        if wanted:
            statement = statement.where(column.in_(wanted))
    if query.entity_type is not None:
        statement = statement.where(table.entity_type == query.entity_type)
    if query.active_filter or query.current_period_start is not None:
        at = query.current_period_start or now
        statement = statement.where(or_(table.end_date.is_(None), table.end_date > at))
    return await select_page(session, table, query, ITEMS_SEARCHABLE, statement)
