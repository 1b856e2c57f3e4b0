"""Endpoints of prices and price units."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.catalogue.answers.prices import EXPANDABLE, WHOLE, price_answer, price_answers
from farthing.catalogue.answers.schemas import CreateBulkPriceResponse, ListPricesResponse, PriceResponse
from farthing.catalogue.answers.shapes import PRICES
from farthing.catalogue.prices import lifecycle, units, versions
from farthing.catalogue.prices.schemas import (
    CreateBulkPriceRequest,
    CreatePriceRequest,
    CreatePriceUnitRequest,
    DeletePriceRequest,
    ListPriceUnitsResponse,
    PriceFilter,
    PriceQuery,
    PriceUnitFilter,
    PriceUnitQuery,
    PriceUnitResponse,
    UpdatePriceRequest,
    UpdatePriceUnitRequest,
)
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.core.clock import Clock
from farthing.core.encoding.wire import Message
from farthing.storage.queries.listing import select_entities
from farthing.storage.queries.pages import read_answers
from farthing.storage.queries.rows import find


class Prices(Controller):
    """What plans, addons, subscriptions and cost sheets charge or cost."""

    path = "/prices"
    tags = ("Prices",)

    @post("/", operation_id="createPrice", guards=[needs("price", "write")])
    async def create(self, data: CreatePriceRequest, session: AsyncSession, clock: Clock) -> PriceResponse:
        """Create a price."""
        return await price_answer(session, await lifecycle.create(session, data, clock.now()))

    @post("/bulk", operation_id="createPricesBulk", guards=[needs("price", "write")])
    async def create_bulk(
        self, data: CreateBulkPriceRequest, session: AsyncSession, clock: Clock
    ) -> CreateBulkPriceResponse:
        """Create up to 100 prices, or none of them."""
        prices = await lifecycle.create_all(session, data.items, clock.now())
        return CreateBulkPriceResponse(items=await price_answers(session, prices, WHOLE))

    @get("/", operation_id="listPrices", guards=[needs("price", "read")], opt={"query": PriceQuery})
    async def browse(self, request: Request[Any, Any, Any]) -> ListPricesResponse:
        """List prices."""
        return await _page(unit_of_work(request), read_query(request, PriceQuery))

    @post("/search", operation_id="queryPrice", guards=[needs("price", "read")], status_code=200)
    async def search(self, request: Request[Any, Any, Any], data: PriceFilter | None = None) -> ListPricesResponse:
        """Search prices."""
        return await _page(unit_of_work(request), data or PriceFilter())

    @get("/lookup/{lookup_key:str}", operation_id="getPriceByLookupKey", guards=[needs("price", "read")])
    async def read_by_lookup_key(self, lookup_key: str, session: AsyncSession, clock: Clock) -> PriceResponse:
        """Get the price in force that has this key, else the next to come into force."""
        return await price_answer(session, await lifecycle.by_lookup_key(session, lookup_key, clock.now()))

    @get("/{id:str}", operation_id="getPrice", guards=[needs("price", "read")])
    async def read(self, id: str, session: AsyncSession) -> PriceResponse:
        """Get a price with its meter, group and unit, ended ones included."""
        return await price_answer(session, await find(session, Price, id))

    @put("/{id:str}", operation_id="updatePrice", guards=[needs("price", "write")])
    async def update(self, id: str, data: UpdatePriceRequest, session: AsyncSession, clock: Clock) -> PriceResponse:
        """Relabel a price, or end it and begin a new version, which is answered."""
        return await price_answer(session, await versions.update(session, id, data, clock.now()))

    @delete("/{id:str}", operation_id="deletePrice", guards=[needs("price", "write")], status_code=200)
    async def terminate(
        self, id: str, session: AsyncSession, clock: Clock, data: DeletePriceRequest | None = None
    ) -> Message:
        """End a price; subscriptions that have it keep it until they are synced."""
        at = data.end_date if data is not None else None
        await lifecycle.terminate(session, id, at or clock.now())
        return Message(message="price deleted successfully")


class PriceUnits(Controller):
    """Units of the tenant's own that prices may be quoted in."""

    path = "/prices/units"
    tags = ("Price Units",)

    @post("/", operation_id="createPriceUnit", guards=[needs("price", "write")])
    async def create(self, data: CreatePriceUnitRequest, session: AsyncSession) -> PriceUnitResponse:
        """Create a price unit."""
        return PriceUnitResponse.of(await units.create(session, data))

    @get("/", operation_id="listPriceUnits", guards=[needs("price", "read")], opt={"query": PriceUnitQuery})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListPriceUnitsResponse:
        """List price units."""
        return await _units_page(session, read_query(request, PriceUnitQuery))

    @post("/search", operation_id="queryPriceUnit", guards=[needs("price", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: PriceUnitFilter | None = None) -> ListPriceUnitsResponse:
        """Search price units."""
        return await _units_page(session, data or PriceUnitFilter())

    @get("/code/{code:str}", operation_id="getPriceUnitByCode", guards=[needs("price", "read")])
    async def read_by_code(self, code: str, session: AsyncSession) -> PriceUnitResponse:
        """Get the published price unit with this code."""
        return PriceUnitResponse.of(await units.by_code(session, code))

    @get("/{id:str}", operation_id="getPriceUnit", guards=[needs("price", "read")])
    async def read(self, id: str, session: AsyncSession) -> PriceUnitResponse:
        """Get a price unit, archived ones included."""
        return PriceUnitResponse.of(await find(session, PriceUnit, id))

    @put("/{id:str}", operation_id="updatePriceUnit", guards=[needs("price", "write")])
    async def update(self, id: str, data: UpdatePriceUnitRequest, session: AsyncSession) -> PriceUnitResponse:
        """Change the labels of a price unit."""
        return PriceUnitResponse.of(await units.update(session, id, data))

    @delete("/{id:str}", operation_id="deletePriceUnit", guards=[needs("price", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive a price unit that nothing live is quoted in."""
        await units.archive(session, id)
        return Message(message="Price unit deleted successfully")


async def _page(work: UnitOfWork, query: PriceQuery) -> ListPricesResponse:
    wanted = frozenset(expansions(query.expand, EXPANDABLE))
    statements = lifecycle.page_of_prices(query, work.clock.now())
    if wanted:
        session = await work.admitted_session()
        found, total = await select_entities(session, Price, statements)
        items = await price_answers(session, found, wanted)
    else:
        items, total = await read_answers(await reader(work, query), PRICES, statements)
    answer: ListPricesResponse = page(items, total, query, next_offset=True)
    return answer


async def _units_page(session: AsyncSession, query: PriceUnitQuery) -> ListPriceUnitsResponse:
    expansions(query.expand, {})
    found, total = await units.search(session, query)
    items = [PriceUnitResponse.of(unit) for unit in found]
    answer: ListPriceUnitsResponse = page(items, total, query, next_offset=False)
    return answer
