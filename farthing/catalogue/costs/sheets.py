"""How a cost sheet comes to be, is found, changes and is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.costs.schemas import CostsheetFilter, CreateCostsheetRequest, UpdateCostsheetRequest
from farthing.catalogue.costs.tables import CostSheet
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.fields import require_published
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, NotFound
from farthing.core.ids import Kind, new_id
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row, not_found, violated

SEARCHABLE = (
    "id",
    "name",
    "lookup_key",
    "description",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


async def create(session: AsyncSession, request: CreateCostsheetRequest) -> CostSheet:
    """Insert a sheet; from now on it is the active one. Raises AlreadyExists for a name or key in use."""
    sheet = CostSheet(
        id=new_id(Kind.COST_SHEET),
        name=request.name,
        lookup_key=request.lookup_key or "",
        description=request.description or "",
        meta=request.metadata or {},
    )
    async with _refusing_duplicates(session, sheet):
        session.add(sheet)
    return sheet


async def active(session: AsyncSession) -> CostSheet:
    """The newest published sheet. Raises NotFound if there is none."""
    newest = select(CostSheet).where(CostSheet.status == Status.PUBLISHED)
    newest = newest.order_by(CostSheet.created_at.desc(), CostSheet.id.desc()).limit(1)
    sheet = (await session.scalars(newest)).one_or_none()
    if sheet is None:
        raise NotFound("There is no active cost sheet")
    return sheet


async def update(session: AsyncSession, sheet_id: str, request: UpdateCostsheetRequest) -> CostSheet:
    """Change a sheet. Raises NotFound, InvalidOperation for an archived one, AlreadyExists for a name or key in use."""
    sheet = await lock_row(session, CostSheet, sheet_id)
    require_published(sheet)
    async with _refusing_duplicates(session, sheet):
        for field in ("name", "lookup_key", "description"):
            given = getattr(request, field)
            if given is not None:
                setattr(sheet, field, given)
        if request.metadata is not None:
            sheet.meta = request.metadata
    return sheet


async def delete(session: AsyncSession, sheet_id: str) -> None:
    """Delete a sheet for good; its name and key are free. Raises NotFound, and InvalidOperation if it is deleted."""
    query = select(CostSheet).where(CostSheet.id == sheet_id).with_for_update()
    sheet = (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()
    if sheet is None:
        raise not_found(CostSheet, sheet_id)
    if sheet.status is Status.DELETED:
        raise InvalidOperation("The cost sheet is deleted already", {"id": sheet_id})
    sheet.status = Status.DELETED


async def search(session: AsyncSession, query: CostsheetFilter) -> tuple[Sequence[CostSheet], int]:
    """One page of the sheets that meet all of `query`, and how many there are."""
    statement = select(CostSheet)
    if query.costsheet_ids:
        statement = statement.where(CostSheet.id.in_(query.costsheet_ids))
    if query.name:
        statement = statement.where(CostSheet.name == query.name)
    if query.lookup_key:
        statement = statement.where(CostSheet.lookup_key == query.lookup_key)
    return await select_page(session, CostSheet, query.list_query(), SEARCHABLE, statement)


async def costs_of(session: AsyncSession, sheet_ids: Sequence[str]) -> list[Price]:
    """The published prices of sheets, oldest first, in one query."""
    found = await session.scalars(
        select(Price)
        .where(
            Price.entity_id.in_(set(sheet_ids)),
            Price.entity_type == PriceEntityType.COSTSHEET,
            Price.status == Status.PUBLISHED,
        )
        .order_by(Price.created_at, Price.id)
    )
    return list(found)


@asynccontextmanager
async def _refusing_duplicates(session: AsyncSession, sheet: CostSheet) -> AsyncIterator[None]:
    """Write what the block changed; a second published sheet of one name or key becomes AlreadyExists."""
    try:
        async with session.begin_nested():
            yield
            taken = {"name": sheet.name, "lookup_key": sheet.lookup_key}
    except IntegrityError as error:
        field = {"uq_cost_sheets_name": "name", "uq_cost_sheets_lookup_key": "lookup_key"}.get(violated(error))
        if field is None:
            raise
        raise AlreadyExists(f"A cost sheet with this {field} already exists", {field: taken[field]}) from error
