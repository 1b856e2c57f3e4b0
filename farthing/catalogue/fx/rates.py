"""How an exchange rate comes to be, is found, changed and archived. No change reaches an invoice already converted.

Rule: docs/rules/currencies.md#rates
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fields import require_published
from farthing.catalogue.fx.enums import FxScope, FxSource
from farthing.catalogue.fx.market import market_rate
from farthing.catalogue.fx.schemas import CreateFxRateRequest, FxRateFilter, RateWindow, UpdateFxRateRequest
from farthing.catalogue.fx.tables import FxRate
from farthing.catalogue.ports import CataloguePorts
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.tables import Customer
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find, lock_row, unique

SEARCHABLE = (
    "id",
    "from_currency",
    "to_currency",
    "rate",
    "scope",
    "scope_id",
    "source",
    "start_date",
    "end_date",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


async def create(session: AsyncSession, request: CreateFxRateRequest) -> FxRate:
    """Insert a rate.

    Raises NotFound for an unknown customer or subscription, ValidationFailed for an override of a pair that the
    environment has no rate of and for a market rate that no imported day gives, AlreadyExists for a second rate of the
    environment for a pair and for windows that overlap.
    """
    if request.scope is FxScope.CUSTOMER:
        await find(session, Customer, request.scope_id or "")
    elif request.scope is FxScope.SUBSCRIPTION:
        await find(session, ports_of(session, CataloguePorts).subscription_table, request.scope_id or "")
    if request.scope is not FxScope.TENANT:
        await _require_tenant_rate(session, request.from_currency, request.to_currency, "from_currency")
    rate, market_day = request.rate, None
    if request.source is FxSource.MARKET:
        market = await market_rate(session, request.from_currency, request.to_currency)
        if market is None:
            reason = f"has no imported reference rates for {request.from_currency} to {request.to_currency}"
            raise ValidationFailed.of("source", reason)
        rate, market_day = market.rate, market.day
    assert rate is not None, "a fixed rate is checked by its request"
    row = FxRate(
        id=new_id(Kind.FX_RATE),
        from_currency=request.from_currency,
        to_currency=request.to_currency,
        rate=rate,
        scope=request.scope,
        scope_id=request.scope_id or None,
        source=request.source or FxSource.FIXED,
        market_day=market_day,
        start_date=request.start_date,
        end_date=request.end_date,
        meta=request.metadata or {},
    )
    async with _refusing_rivals(session, row):
        session.add(row)
    return row


async def create_of_subscription(
    session: AsyncSession, subscription_id: str, pair: tuple[str, str], windows: Sequence[RateWindow]
) -> None:
    """Give a subscription that is being made its own rates for a pair.

    Raises ValidationFailed when the environment has no rate of the pair, or when two windows overlap.
    """
    from_currency, to_currency = pair
    await _require_tenant_rate(session, from_currency, to_currency, "fx_rates")
    rows = [
        FxRate(
            id=new_id(Kind.FX_RATE),
            from_currency=from_currency,
            to_currency=to_currency,
            rate=window.rate,
            scope=FxScope.SUBSCRIPTION,
            scope_id=subscription_id,
            source=FxSource.FIXED,
            start_date=window.start_date,
            end_date=window.end_date,
            meta={},
        )
        for window in windows
    ]
    overlap = ValidationFailed.of("fx_rates", "must not have windows that overlap")
    async with unique(session, ex_fx_rates_windows=overlap):
        session.add_all(rows)


async def carry_to_successor(session: AsyncSession, former_id: str, successor_id: str) -> None:
    """Give the subscription that replaces another the rates that were agreed for that."""
    held = await session.scalars(select(FxRate).where(*_of_subscriptions([former_id])).order_by(FxRate.id))
    for row in held.all():
        session.add(
            FxRate(
                id=new_id(Kind.FX_RATE),
                from_currency=row.from_currency,
                to_currency=row.to_currency,
                rate=row.rate,
                scope=FxScope.SUBSCRIPTION,
                scope_id=successor_id,
                source=row.source,
                market_day=row.market_day,
                start_date=row.start_date,
                end_date=row.end_date,
                meta=dict(row.meta),
            )
        )


async def discard_of_subscriptions(session: AsyncSession, subscription_ids: Sequence[str], status: Status) -> None:
    """Withdraw the rates of subscriptions that never came to be."""
    await session.execute(update_rows(FxRate).where(*_of_subscriptions(subscription_ids)).values(status=status))


def _of_subscriptions(subscription_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        FxRate.scope == FxScope.SUBSCRIPTION,
        FxRate.scope_id.in_(subscription_ids),
        FxRate.status == Status.PUBLISHED,
    )


async def update(session: AsyncSession, rate_id: str, request: UpdateFxRateRequest) -> FxRate:
    """Change a rate, or the window of an override.

    Raises NotFound, InvalidOperation for an archived one, ValidationFailed for what the rate does not have,
    AlreadyExists for windows that overlap.
    """
    row = await lock_row(session, FxRate, rate_id)
    require_published(row)
    if request.rate is not None and row.source is FxSource.MARKET:
        raise ValidationFailed.of("rate", "follows the imported reference rates and cannot be set")
    if row.scope is FxScope.TENANT:
        for field in ("start_date", "end_date"):
            if getattr(request, field) is not None:
                raise ValidationFailed.of(field, "is only for rates of scope customer or subscription")
    start, end = request.start_date or row.start_date, request.end_date or row.end_date
    if start is not None and end is not None and end <= start:
        raise ValidationFailed.of("end_date", "must be after start_date")
    async with _refusing_rivals(session, row):
        row.start_date, row.end_date = start, end
        row.rate = row.rate if request.rate is None else request.rate
        if request.metadata is not None:
            row.meta = request.metadata
    return row


async def archive(session: AsyncSession, rate_id: str) -> None:
    """Withdraw an override. Raises NotFound, and InvalidOperation for a rate of the environment or an archived one."""
    row = await lock_row(session, FxRate, rate_id)
    if row.scope is FxScope.TENANT:
        raise InvalidOperation("a rate of the tenant cannot be deleted; change it instead", {"fx_rate_id": row.id})
    require_published(row)
    row.status = Status.ARCHIVED


async def search(session: AsyncSession, query: FxRateFilter) -> tuple[Sequence[FxRate], int]:
    """One page of the rates that meet all of `query`, and how many there are."""
    statement = select(FxRate)
    if query.fx_rate_ids:
        statement = statement.where(FxRate.id.in_(query.fx_rate_ids))
    for field in ("scope", "scope_id", "from_currency", "to_currency"):
        if getattr(query, field):
            statement = statement.where(getattr(FxRate, field) == getattr(query, field))
    return await select_page(session, FxRate, query, SEARCHABLE, statement)


async def _require_tenant_rate(session: AsyncSession, from_currency: str, to_currency: str, field: str) -> None:
    """Raise ValidationFailed unless the environment has a rate of the pair; one that it has stays."""
    of_pair = (FxRate.from_currency == from_currency, FxRate.to_currency == to_currency)
    if not await session.scalar(select(exists().where(FxRate.scope == FxScope.TENANT, *of_pair))):
        reason = f"needs a rate of scope tenant from {from_currency} to {to_currency} first"
        raise ValidationFailed.of(field, reason)


def _refusing_rivals(session: AsyncSession, row: FxRate) -> AbstractAsyncContextManager[None]:
    """Write what the block changed; a second rate for the same pair and time becomes AlreadyExists."""
    pair = {"from_currency": row.from_currency, "to_currency": row.to_currency}
    return unique(
        session,
        uq_fx_rates_pair=AlreadyExists("The tenant has a rate for this pair already", pair),
        ex_fx_rates_windows=AlreadyExists(
            f"The {row.scope.value} has a rate for this pair in a part of this time already", pair
        ),
    )
