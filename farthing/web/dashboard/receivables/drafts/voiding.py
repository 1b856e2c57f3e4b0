"""Voiding an invoice: what becomes of the money that was paid on it is chosen before, and said afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from litestar import Controller, Response, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError
from farthing.core.money import EXACT, exact_sum
from farthing.invoices.lifecycle.transitions import returned_by_void, void_as_asked
from farthing.invoices.requests import VoidInvoiceRequest
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.sending import RefundPoint, send_waiting
from farthing.payments.refunds.tables import RefundDestination, RefundRecord, RefundStatus
from farthing.payments.shared_by_routes import provide_gateways
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of
from farthing.web.rendering.answers import HttpRequest, done, refused
from farthing.web.rendering.words import wording


class VoidingPages(Controller):
    """Voiding."""

    path = "/invoices/{invoice_id:str}/void"
    include_in_schema = False

    @post("/", guards=[changes("invoice")])
    async def void(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Void an invoice; its money goes where the form says, and what a provider sends back is asked for at once."""
        target = form_of(request).get("refund_target")
        try:
            invoice = await find(session, Invoice, invoice_id)
            before, returned = await _refund_ids(session, invoice_id), await returned_by_void(session, invoice)
            asked = convert({"refund_target": target} if target else {}, VoidInvoiceRequest)
            await void_as_asked(session, invoice_id, asked, clock.now())
            await session.flush()
            ids = [refund_id for refund_id in await _refund_ids(session, invoice_id) if refund_id not in before]
            await send_waiting(session, provide_gateways(services), ids, RefundPoint(ids), clock.now())
            refunds = [await session.get_one(RefundRecord, refund_id, populate_existing=True) for refund_id in ids]
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, f"/invoices/{invoice_id}", as_domain_error(error))
        code = invoice.currency
        back = exact_sum([refund.amount for refund in refunds])
        said = ["Voided. Nobody owes it any more."]
        if returned > back:
            said.append(f"{wording.money(EXACT.subtract(returned, back), code)} went into the customer's wallet.")
        said += _sent(refunds, code)
        return done(request, f"/invoices/{invoice_id}", " ".join(said))


def _sent(refunds: Sequence[RefundRecord], code: str) -> list[str]:
    said = []
    for destination, words in (
        (RefundDestination.GATEWAY, "goes back through the payment provider."),
        (RefundDestination.OUT_OF_BAND, "is noted as given back: please send it to the payer."),
    ):
        amounts = [refund.amount for refund in refunds if refund.refund_destination is destination]
        if amounts:
            said.append(f"{wording.money(exact_sum(amounts), code)} {words}")
    if any(refund.refund_status is RefundStatus.FAILED for refund in refunds):
        said.append("The provider has refused a refund; it can be paid into the wallet below.")
    return said


async def _refund_ids(session: AsyncSession, invoice_id: str) -> list[str]:
    return list(await session.scalars(select(RefundRecord.id).where(RefundRecord.invoice_id == invoice_id)))
