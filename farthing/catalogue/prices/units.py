"""Custom price units: made, relabelled, archived. What one is worth never changes."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue import in_use
from farthing.catalogue.fields import require_published
from farthing.catalogue.prices.schemas import CreatePriceUnitRequest, PriceUnitQuery, UpdatePriceUnitRequest
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, NotFound
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import clock_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row, unique

SEARCHABLE = ("id", "name", "code", "symbol", "base_currency", "conversion_rate", "status", "created_at", "updated_at")


async def create(session: AsyncSession, request: CreatePriceUnitRequest) -> PriceUnit:
    """Insert a unit. Raises AlreadyExists when a published unit has the code."""
    unit = PriceUnit(
        id=new_id(Kind.PRICE_UNIT),
        name=request.name,
        code=request.code,
        symbol=request.symbol,
        base_currency=request.base_currency,
        conversion_rate=request.conversion_rate,
        meta=request.metadata or {},
    )
    async with unique(
        session,
        uq_price_units_code=AlreadyExists(f"A price unit with the code '{unit.code}' exists", {"code": unit.code}),
    ):
        session.add(unit)
    return unit


async def by_code(session: AsyncSession, code: str) -> PriceUnit:
    """The published unit with this code. Raises NotFound."""
    query = select(PriceUnit).where(PriceUnit.code == code, PriceUnit.status == Status.PUBLISHED)
    unit = (await session.execute(query)).scalar_one_or_none()
    if unit is None:
        raise NotFound(f"Price unit with code '{code}' was not found", {"code": code})
    return unit


async def update(session: AsyncSession, unit_id: str, request: UpdatePriceUnitRequest) -> PriceUnit:
    """Change the labels of a unit. Raises NotFound, InvalidOperation on an archived one."""
    unit = await lock_row(session, PriceUnit, unit_id)
    require_published(unit)
    if request.name is not None:
        unit.name = request.name
    if request.metadata is not None:
        unit.meta = request.metadata
    await session.flush()
    return unit


async def archive(session: AsyncSession, unit_id: str) -> None:
    """Archive a unit. Raises InvalidOperation while a live price is quoted in it."""
    unit = await lock_row(session, PriceUnit, unit_id)
    require_published(unit)
    await in_use.refuse_if_used(session, (_live_prices,), PriceUnit.label, unit.id)
    unit.status = Status.ARCHIVED
    await session.flush()


async def search(session: AsyncSession, query: PriceUnitQuery) -> tuple[list[PriceUnit], int]:
    """One page of units and the count of all that match."""
    statement = select(PriceUnit)
    if query.price_unit_ids:
        statement = statement.where(PriceUnit.id.in_(query.price_unit_ids))
    return await select_page(session, PriceUnit, query, SEARCHABLE, statement)


async def _live_prices(session: AsyncSession, unit_id: str) -> Mapping[str, int]:
    now = clock_of(session).now()
    query = select(func.count()).where(
        Price.price_unit_id == unit_id,
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    return {"prices": (await session.execute(query)).scalar_one()}
