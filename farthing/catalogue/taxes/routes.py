"""Endpoints of tax rates and their associations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.catalogue.taxes import associations, rates
from farthing.catalogue.taxes.schemas import (
    CreateTaxAssociationRequest,
    CreateTaxRateRequest,
    ListTaxAssociationsResponse,
    ListTaxRatesResponse,
    TaxAssociationFilter,
    TaxAssociationResponse,
    TaxAssociationUpdateRequest,
    TaxRateFilter,
    TaxRateResponse,
    UpdateTaxRateRequest,
)
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.clock import Clock
from farthing.storage.queries.rows import find

EXPANDABLE = {"tax_rate": frozenset[str]()}


class TaxRates(Controller):
    """Tax rates."""

    path = "/taxes/rates"
    tags = ("Tax Rates",)

    @post("/", operation_id="createTaxRate", guards=[needs("tax", "write")])
    async def create(self, data: CreateTaxRateRequest, session: AsyncSession) -> TaxRateResponse:
        """Create a tax rate."""
        return TaxRateResponse.of(await rates.create(session, data))

    @get("/", operation_id="getTaxRates", guards=[needs("tax", "read")], opt={"query": TaxRateFilter})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListTaxRatesResponse:
        """List tax rates."""
        query = read_query(request, TaxRateFilter)
        expansions(query.expand, {})
        found, total = await rates.search(session, query)
        answer: ListTaxRatesResponse = page(
            [TaxRateResponse.of(rate) for rate in found], total, query, next_offset=True
        )
        return answer

    @get("/{id:str}", operation_id="getTaxRate", guards=[needs("tax", "read")])
    async def read(self, id: str, session: AsyncSession) -> TaxRateResponse:
        """Get a tax rate, archived ones included."""
        return TaxRateResponse.of(await find(session, TaxRateRow, id))

    @put("/{id:str}", operation_id="updateTaxRate", guards=[needs("tax", "write")])
    async def update(self, id: str, data: UpdateTaxRateRequest, session: AsyncSession) -> TaxRateResponse:
        """Change a tax rate that nothing uses."""
        return TaxRateResponse.of(await rates.update(session, id, data))

    @delete("/{id:str}", operation_id="deleteTaxRate", guards=[needs("tax", "write")])
    async def archive(self, id: str, session: AsyncSession) -> None:
        """Archive a tax rate that is not associated."""
        await rates.archive(session, id)


class TaxAssociations(Controller):
    """What tax rates apply to."""

    path = "/taxes/associations"
    tags = ("Tax Associations",)

    @post("/", operation_id="createTaxAssociation", guards=[needs("tax", "write")], status_code=200)
    async def create(
        self, data: CreateTaxAssociationRequest, session: AsyncSession, clock: Clock
    ) -> TaxAssociationResponse:
        """Apply a tax rate to an entity."""
        return TaxAssociationResponse.of(await associations.create(session, data, clock.now()))

    @get("/", operation_id="listTaxAssociations", guards=[needs("tax", "read")], opt={"query": TaxAssociationFilter})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListTaxAssociationsResponse:
        """List tax associations."""
        query = read_query(request, TaxAssociationFilter)
        wanted = expansions(query.expand, EXPANDABLE)
        found, total = await associations.search(session, query)
        answer: ListTaxAssociationsResponse = page(
            await _answers(session, found, wanted), total, query, next_offset=True
        )
        return answer

    @get("/{id:str}", operation_id="getTaxAssociation", guards=[needs("tax", "read")])
    async def read(self, id: str, session: AsyncSession, expand: str | None = None) -> TaxAssociationResponse:
        """Get a tax association, archived ones included."""
        wanted = expansions(expand, EXPANDABLE)
        return (await _answers(session, [await find(session, TaxAssociation, id)], wanted))[0]

    @put("/{id:str}", operation_id="updateTaxAssociation", guards=[needs("tax", "write")])
    async def update(self, id: str, data: TaxAssociationUpdateRequest, session: AsyncSession) -> TaxAssociationResponse:
        """Change a tax association's priority, auto-apply or metadata."""
        return TaxAssociationResponse.of(await associations.update(session, id, data))

    # the association comes back, archived, because published clients read a body here
    @delete("/{id:str}", operation_id="deleteTaxAssociation", guards=[needs("tax", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> TaxAssociationResponse:
        """End a tax association."""
        return TaxAssociationResponse.of(await associations.archive(session, id))


async def _answers(
    session: AsyncSession, found: Sequence[TaxAssociation], wanted: dict[str, set[str]]
) -> list[TaxAssociationResponse]:
    if "tax_rate" not in wanted:
        return [TaxAssociationResponse.of(association) for association in found]
    rates_found = await associations.rates_of(session, found)
    described = {rate_id: TaxRateResponse.of(rate) for rate_id, rate in rates_found.items()}
    return [
        TaxAssociationResponse.of(association, tax_rate=described[association.tax_rate_id]) for association in found
    ]
