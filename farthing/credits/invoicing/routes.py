"""The endpoint that says what an invoice takes of wallets."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, post

from farthing.api.guards import needs
from farthing.api.work import rehearsal
from farthing.core.clock import Clock
from farthing.core.money import plain
from farthing.credits.invoicing.consumption import InvoiceConsumption, WalletConsumptionPart, consumption_of
from farthing.credits.schemas import (
    ConsumptionResponse,
    InvoiceConsumptionResponse,
    WalletConsumptionPartResponse,
)

HttpRequest = Request[Any, Any, Any]


class InvoiceCreditsPreview(Controller):
    """What invoices take of wallets."""

    path = "/invoices"
    tags = ("Wallets",)

    @post(
        "/{id:str}/consumption/preview",
        operation_id="previewInvoiceConsumption",
        guards=[needs("wallet", "read")],
        status_code=200,
    )
    async def preview(self, id: str, request: HttpRequest, clock: Clock) -> InvoiceConsumptionResponse:
        """See which lots of which wallets an invoice or a draft would take if it were issued and collected now."""
        async with rehearsal(request) as session:
            return _answer(id, await consumption_of(session, id, clock.now()))


def _answer(invoice_id: str, consumption: InvoiceConsumption) -> InvoiceConsumptionResponse:
    return InvoiceConsumptionResponse(
        invoice_id=invoice_id,
        applied=[_part(part) for part in consumption.applied],
        paid=[_part(part) for part in consumption.paid],
        amount_left=plain(consumption.left),
    )


def _part(part: WalletConsumptionPart) -> WalletConsumptionPartResponse:
    return WalletConsumptionPartResponse(
        wallet_id=part.wallet_id,
        amount=plain(part.amount),
        credits=plain(part.credits),
        consumption_breakdown=[
            ConsumptionResponse(credit_transaction_id=taken.lot_id, credits=plain(taken.credits))
            for taken in part.consumptions
        ],
    )
