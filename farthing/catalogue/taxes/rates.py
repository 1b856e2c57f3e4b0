"""How a tax rate comes to be, is found, changed while nothing uses it, and archived."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fields import require_published
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.taxes.enums import TaxRateStatus
from farthing.catalogue.taxes.schemas import CreateTaxRateRequest, TaxRateFilter, UpdateTaxRateRequest
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.core.standards.trade_codes import check_vat
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row, unique

SEARCHABLE = (
    "id",
    "name",
    "code",
    "description",
    "tax_rate_status",
    "tax_rate_type",
    "scope",
    "percentage_value",
    "fixed_value",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


async def create(session: AsyncSession, request: CreateTaxRateRequest) -> TaxRateRow:
    """Insert a rate, ACTIVE. Raises AlreadyExists if a published rate has its code."""
    rate = TaxRateRow(
        id=new_id(Kind.TAX_RATE),
        name=request.name,
        code=request.code,
        description=request.description or "",
        tax_rate_status=TaxRateStatus.ACTIVE,
        tax_rate_type=request.tax_rate_type,
        scope=request.scope,
        percentage_value=request.percentage_value,
        fixed_value=request.fixed_value,
        meta=request.metadata or {},
    )
    async with _refusing_duplicates(session, request.code):
        session.add(rate)
    return rate


async def update(session: AsyncSession, rate_id: str, request: UpdateTaxRateRequest) -> TaxRateRow:
    """Change a rate that nothing uses.

    Raises NotFound; InvalidOperation for one that is archived, has published associations or was charged;
    AlreadyExists for a code in use.
    """
    rate = await _published(session, rate_id)
    if await _associated(session, rate_id):
        raise InvalidOperation(f"Tax rate {rate.code} is associated and cannot be changed", {"tax_rate_id": rate_id})
    if await ports_of(session, CataloguePorts).was_tax_rate_charged(session, rate_id):
        raise InvalidOperation(
            f"Tax rate {rate.code} was charged and cannot be changed; make a new one", {"tax_rate_id": rate_id}
        )
    async with _refusing_duplicates(session, request.code or rate.code):
        for field in ("name", "code", "description", "tax_rate_status"):
            given = getattr(request, field)
            if given is not None:
                setattr(rate, field, given)
        if request.metadata is not None:
            check_vat(request.metadata, rate.percentage_value)
            rate.meta = request.metadata
    return rate


async def archive(session: AsyncSession, rate_id: str) -> None:
    """Retire a rate and free its code. Raises NotFound, and InvalidOperation while it has published associations."""
    rate = await _published(session, rate_id)
    if await _associated(session, rate_id):
        raise InvalidOperation(f"Tax rate {rate.code} is associated and cannot be deleted", {"tax_rate_id": rate_id})
    rate.status = Status.ARCHIVED


async def search(session: AsyncSession, query: TaxRateFilter) -> tuple[Sequence[TaxRateRow], int]:
    """One page of the rates that meet all of `query`, and how many there are."""
    statement = select(TaxRateRow)
    if query.taxrate_ids:
        statement = statement.where(TaxRateRow.id.in_(query.taxrate_ids))
    if query.taxrate_codes:
        statement = statement.where(TaxRateRow.code.in_(query.taxrate_codes))
    if query.code:
        statement = statement.where(TaxRateRow.code == query.code)
    if query.scope:
        statement = statement.where(TaxRateRow.scope == query.scope)
    return await select_page(session, TaxRateRow, query, SEARCHABLE, statement)


async def _published(session: AsyncSession, rate_id: str) -> TaxRateRow:
    # whoever associates a rate holds it FOR SHARE, so this waits until the association can be seen
    rate = await lock_row(session, TaxRateRow, rate_id)
    require_published(rate)
    return rate


async def _associated(session: AsyncSession, rate_id: str) -> bool:
    of_rate = (TaxAssociation.tax_rate_id == rate_id, TaxAssociation.status == Status.PUBLISHED)
    return bool(await session.scalar(select(exists().where(*of_rate))))


def _refusing_duplicates(session: AsyncSession, code: str) -> AbstractAsyncContextManager[None]:
    """Write what the block changed; a second published rate of one code becomes AlreadyExists."""
    return unique(session, uq_tax_rates_code=AlreadyExists("A tax rate with this code already exists", {"code": code}))
