"""Endpoints of cost sheets."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Controller, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page
from farthing.catalogue.answers.prices import EXPANDABLE as OF_PRICES
from farthing.catalogue.answers.prices import WHOLE, price_answers
from farthing.catalogue.answers.schemas import PriceResponse
from farthing.catalogue.costs import sheets
from farthing.catalogue.costs.schemas import (
    CostsheetFilter,
    CostsheetResponse,
    CreateCostsheetRequest,
    CreateCostsheetResponse,
    DeleteCostsheetResponse,
    GetCostsheetResponse,
    ListCostsheetResponse,
    UpdateCostsheetRequest,
    UpdateCostsheetResponse,
)
from farthing.catalogue.costs.tables import CostSheet
from farthing.storage.queries.rows import find

EXPANDABLE = {"prices": frozenset(OF_PRICES)}


class CostSheets(Controller):
    """What it costs the tenant to serve."""

    path = "/costs"
    tags = ("Costs",)

    @post("/", operation_id="createCostsheet", guards=[needs("costsheet", "write")])
    async def create(self, data: CreateCostsheetRequest, session: AsyncSession) -> CreateCostsheetResponse:
        """Create a cost sheet, which becomes the active one."""
        return CreateCostsheetResponse(costsheet=CostsheetResponse.of(await sheets.create(session, data)))

    @post("/search", operation_id="queryCostsheet", guards=[needs("costsheet", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: CostsheetFilter | None = None) -> ListCostsheetResponse:
        """Search cost sheets."""
        query = (data or CostsheetFilter()).list_query()
        wanted = expansions(query.expand, EXPANDABLE)
        found, total = await sheets.search(session, data or CostsheetFilter())
        answers = [CostsheetResponse.of(sheet) for sheet in found]
        if "prices" in wanted:
            answers = await _with_prices(session, found, frozenset(wanted["prices"]))
        answer: ListCostsheetResponse = page(answers, total, query, next_offset=False)
        return answer

    @get("/active", operation_id="getActiveCostsheet", guards=[needs("costsheet", "read")])
    async def active(self, session: AsyncSession) -> CostsheetResponse:
        """Get the newest published cost sheet with its costs."""
        return (await _with_prices(session, [await sheets.active(session)], WHOLE))[0]

    @get("/{id:str}", operation_id="getCostsheet", guards=[needs("costsheet", "read")])
    async def read(self, id: str, session: AsyncSession, expand: str | None = None) -> GetCostsheetResponse:
        """Get a cost sheet with its costs."""
        wanted = expansions(expand, EXPANDABLE)
        sheet = await find(session, CostSheet, id)
        (answer,) = await _with_prices(session, [sheet], WHOLE | wanted.get("prices", set()))
        return GetCostsheetResponse.of(sheet, prices=answer.prices, costsheet=answer)

    @put("/{id:str}", operation_id="updateCostsheet", guards=[needs("costsheet", "write")])
    async def update(self, id: str, data: UpdateCostsheetRequest, session: AsyncSession) -> UpdateCostsheetResponse:
        """Change a cost sheet."""
        return UpdateCostsheetResponse(costsheet=CostsheetResponse.of(await sheets.update(session, id, data)))

    @delete("/{id:str}", operation_id="deleteCostsheet", guards=[needs("costsheet", "write")], status_code=200)
    async def remove(self, id: str, session: AsyncSession) -> DeleteCostsheetResponse:
        """Delete a cost sheet."""
        await sheets.delete(session, id)
        return DeleteCostsheetResponse(message="Costsheet deleted successfully", id=id)


async def _with_prices(
    session: AsyncSession, found: Sequence[CostSheet], wanted: frozenset[str]
) -> list[CostsheetResponse]:
    prices = await sheets.costs_of(session, [sheet.id for sheet in found])
    owned: dict[str, list[PriceResponse]] = {sheet.id: [] for sheet in found}
    for answer in await price_answers(session, prices, wanted):
        owned[answer.entity_id].append(answer)
    return [CostsheetResponse.of(sheet, prices=owned[sheet.id]) for sheet in found]
