"""Mails that somebody sends from an invoice's page: the invoice once more, and a reminder of it."""

from __future__ import annotations

from litestar import Controller, Response, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.invoices.ports import InvoiceEmailAnswer
from farthing.invoices.tables import Invoice
from farthing.notifications.email.asking import mail_invoice, obstacle_to_mail, remind_of_invoice
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes
from farthing.web.rendering.answers import HttpRequest, done, refused


class InvoiceMailPages(Controller):
    """Mails about one invoice."""

    path = "/invoices/{invoice_id:str}/emails"
    include_in_schema = False

    @post("/invoice", guards=[changes("invoice")])
    async def send_invoice(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Send the invoice once more."""
        invoice, settings = await find(session, Invoice, invoice_id), services.part(Settings)
        answer = await mail_invoice(session, invoice, settings)
        return await _told(request, session, invoice, settings, answer)

    @post("/reminder", guards=[changes("invoice")])
    async def remind(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Remind the customer of the invoice."""
        invoice, settings = await find(session, Invoice, invoice_id), services.part(Settings)
        try:
            answer = await remind_of_invoice(session, invoice, settings)
        except FarthingError as error:
            return await refused(request, f"/invoices/{invoice_id}", error)
        return await _told(request, session, invoice, settings, answer)


async def _told(
    request: HttpRequest, session: AsyncSession, invoice: Invoice, settings: Settings, answer: InvoiceEmailAnswer
) -> Response[str]:
    here = f"/invoices/{invoice.id}"
    match answer:
        case InvoiceEmailAnswer.QUEUED:
            return done(request, here, "The mail is queued, and handed in within a minute.")
        case InvoiceEmailAnswer.NO_ADDRESS:
            problem = "the customer has no e-mail address; set one among the customer's details"
        case InvoiceEmailAnswer.OFF:
            obstacle = await obstacle_to_mail(session, settings) or (
                "Mails of this kind are switched off; they are switched on in the settings, under Mails."
            )
            problem = f"{obstacle} Until then, download the PDF and send it yourself."
    return await refused(request, here, InvalidOperation(problem))
