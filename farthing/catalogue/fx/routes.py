"""Endpoints of exchange rates."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page
from farthing.catalogue.fx import rates
from farthing.catalogue.fx.market import import_days
from farthing.catalogue.fx.reference_file import UnusableReferenceFile, read_reference_file
from farthing.catalogue.fx.schemas import (
    CreateFxRateRequest,
    FxRateFilter,
    FxRateResponse,
    ListFxRatesResponse,
    ReferenceRatesImported,
    ReferenceRatesImportRequest,
    UpdateFxRateRequest,
)
from farthing.catalogue.fx.tables import FxRate
from farthing.core.encoding.wire import Message
from farthing.core.errors import ValidationFailed
from farthing.storage.queries.rows import find


class FxRates(Controller):
    """Exchange rates."""

    path = "/forex"
    tags = ("Fx Rates",)

    @post("/", operation_id="createFXRate", guards=[needs("price", "write")])
    async def create(self, data: CreateFxRateRequest, session: AsyncSession) -> FxRateResponse:
        """Create an exchange rate."""
        return FxRateResponse.of(await rates.create(session, data))

    @post("/query", operation_id="queryFXRates", guards=[needs("price", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: FxRateFilter | None = None) -> ListFxRatesResponse:
        """Search exchange rates."""
        query = data or FxRateFilter()
        expansions(query.expand, {})
        found, total = await rates.search(session, query)
        answer: ListFxRatesResponse = page([FxRateResponse.of(rate) for rate in found], total, query, next_offset=False)
        return answer

    @post("/reference-rates", operation_id="importReferenceRates", guards=[needs("price", "write")], status_code=200)
    async def import_reference_rates(
        self, data: ReferenceRatesImportRequest, session: AsyncSession
    ) -> ReferenceRatesImported:
        """Import a file of euro reference rates."""
        try:
            days = read_reference_file(data.file)
        except UnusableReferenceFile as error:
            raise ValidationFailed.of("file", str(error)) from error
        return ReferenceRatesImported.of_import(await import_days(session, days))

    @get("/{id:str}", operation_id="getFXRate", guards=[needs("price", "read")])
    async def read(self, id: str, session: AsyncSession) -> FxRateResponse:
        """Get an exchange rate, archived ones included."""
        return FxRateResponse.of(await find(session, FxRate, id))

    @put("/{id:str}", operation_id="updateFXRate", guards=[needs("price", "write")])
    async def update(self, id: str, data: UpdateFxRateRequest, session: AsyncSession) -> FxRateResponse:
        """Change an exchange rate, or the window of an override."""
        return FxRateResponse.of(await rates.update(session, id, data))

    # a message comes back, because published clients read a body here
    @delete("/{id:str}", operation_id="deleteFXRate", guards=[needs("price", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive the exchange rate of a customer or a subscription."""
        await rates.archive(session, id)
        return Message(message="FX rate deleted successfully")
