"""Finding grants and applications."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.credit_grants import CreditGrantScope
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.enums import Status
from farthing.credits.grants.enums import OPEN
from farthing.credits.grants.schemas import CreditGrantQuery
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.storage.queries.listing import ListQuery, select_page
from farthing.storage.queries.rows import in_array

SEARCHABLE = (
    "id",
    "name",
    "scope",
    "plan_id",
    "addon_id",
    "subscription_id",
    "cadence",
    "period",
    "expiration_type",
    "credits",
    "priority",
    "start_date",
    "end_date",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)
APPLICATION_FIELDS = (
    "id",
    "application_status",
    "application_reason",
    "scheduled_for",
    "period_start",
    "period_end",
    "credits",
    "retry_count",
    "created_at",
)


async def grants_page(session: AsyncSession, query: CreditGrantQuery) -> tuple[list[CreditGrant], int]:
    """One page of grants and how many match."""
    statement = select(CreditGrant)
    for column, ids in (
        (CreditGrant.plan_id, query.plan_ids),
        (CreditGrant.addon_id, query.addon_ids),
        (CreditGrant.subscription_id, query.subscription_ids),
        (CreditGrant.id, query.credit_grant_ids),
    ):
        if ids:
            statement = statement.where(in_array(column, ids))
    if query.scope is not None:
        statement = statement.where(CreditGrant.scope == query.scope)
    return await select_page(session, CreditGrant, query, SEARCHABLE, statement)


async def applications_page(
    session: AsyncSession, grant_id: str, query: ListQuery
) -> tuple[list[CreditGrantApplication], int]:
    """One page of the applications of a grant, newest first, and how many there are."""
    table = CreditGrantApplication
    return await select_page(
        session, table, query, APPLICATION_FIELDS, select(table).where(table.credit_grant_id == grant_id)
    )


async def upcoming(
    session: AsyncSession, subscription_ids: Sequence[str], now: datetime
) -> list[CreditGrantApplication]:
    """The open applications of subscriptions that lie ahead, soonest first."""
    table = CreditGrantApplication
    rows = await session.scalars(
        select(table)
        .where(
            in_array(table.subscription_id, subscription_ids),
            table.application_status.in_(OPEN),
            table.scheduled_for > now,
        )
        .order_by(table.scheduled_for, table.id)
    )
    return list(rows)


async def included_in_owners(
    session: AsyncSession, kind: PriceEntityType, owner_ids: Sequence[str]
) -> Mapping[str, list[IncludedCreditGrant]]:
    """The published templates of plans or addons, by owner, in one query."""
    of_plan = kind is PriceEntityType.PLAN
    owner = CreditGrant.plan_id if of_plan else CreditGrant.addon_id
    scope = CreditGrantScope.PLAN if of_plan else CreditGrantScope.ADDON
    rows = await session.scalars(
        select(CreditGrant)
        .where(in_array(owner, owner_ids), CreditGrant.scope == scope, CreditGrant.status == Status.PUBLISHED)
        .order_by(CreditGrant.created_at, CreditGrant.id)
    )
    return _grouped([(grant.plan_id if of_plan else grant.addon_id, grant) for grant in rows])


async def included_in_subscriptions(
    session: AsyncSession, subscription_ids: Sequence[str]
) -> Mapping[str, list[IncludedCreditGrant]]:
    """The published grants of subscriptions, by subscription, in one query."""
    rows = await session.scalars(
        select(CreditGrant)
        .where(in_array(CreditGrant.subscription_id, subscription_ids), CreditGrant.status == Status.PUBLISHED)
        .order_by(CreditGrant.created_at, CreditGrant.id)
    )
    return _grouped([(grant.subscription_id, grant) for grant in rows])


def _grouped(grants: Sequence[tuple[str | None, CreditGrant]]) -> Mapping[str, list[IncludedCreditGrant]]:
    by_owner: defaultdict[str, list[IncludedCreditGrant]] = defaultdict(list)
    for owner_id, grant in grants:
        by_owner[owner_id or ""].append(IncludedCreditGrant.of(grant))
    return by_owner
