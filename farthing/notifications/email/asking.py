"""Mails that somebody asks for: an invoice once more, a reminder of one, and one that was parked.

Rule: docs/rules/email.md#sending-again
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.ids import new_ulid
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.invoices.ports import InvoiceEmailAnswer
from farthing.invoices.receivable import InvoiceStatus, is_unpaid
from farthing.invoices.tables import Invoice
from farthing.notifications.email.collected import is_collected_automatically
from farthing.notifications.email.queueing import NewEmail, queue
from farthing.notifications.email.recipients import address_of, is_development
from farthing.notifications.email.tables import Email, EmailKind, EmailState
from farthing.settings import Settings
from farthing.storage.postgres import real_clock_of
from farthing.storage.queries.rows import find


async def obstacle_to_mail(session: AsyncSession, settings: Settings) -> str:
    """Why no mail leaves the session's environment, in words; empty where it does."""
    if settings.mail_server() is None:
        return "This deployment has no mail server. Whoever runs it sets FARTHING_SMTP_URL and FARTHING_MAIL_FROM."
    if not (await read(session, EmailConfig)).enabled:
        return "Mail is switched off for this environment."
    if settings.mail_test_to is None and await is_development(session):
        return (
            "No mail leaves this environment, which is one for development, "
            "unless whoever runs the deployment says with FARTHING_MAIL_TEST_TO where it all goes."
        )
    return ""


async def mail_invoice(session: AsyncSession, invoice: Invoice, settings: Settings) -> InvoiceEmailAnswer:
    """Queue the mail with an invoice once more; what becomes of it."""
    is_issued = invoice.status is Status.PUBLISHED and invoice.invoice_status is InvoiceStatus.FINALIZED
    is_wanted = (await read(session, EmailConfig)).invoice_issued
    if not (is_issued and is_wanted) or await obstacle_to_mail(session, settings):
        return InvoiceEmailAnswer.OFF
    return await _queue_asked(session, invoice, EmailKind.INVOICE_ISSUED, {})


async def remind_of_invoice(session: AsyncSession, invoice: Invoice, settings: Settings) -> InvoiceEmailAnswer:
    """Queue a reminder of an unpaid invoice, whatever days reminders have; what becomes of it.

    Raises InvalidOperation where nobody should be reminded: nothing is owed, it has no due date, it is collected
    automatically, or a reminder waits already.
    """
    if not is_unpaid(invoice) or invoice.due_date is None:
        raise InvalidOperation("only an unpaid invoice with a due date can be reminded of", {"invoice_id": invoice.id})
    if await is_collected_automatically(session, invoice.id):
        raise InvalidOperation("the invoice is collected automatically", {"invoice_id": invoice.id})
    waiting = select(Email.id).where(
        Email.invoice_id == invoice.id, Email.kind == EmailKind.REMINDER, Email.state == EmailState.QUEUED
    )
    if await session.scalar(waiting.limit(1)) is not None:
        raise InvalidOperation("a reminder of the invoice is queued already", {"invoice_id": invoice.id})
    if not (await read(session, EmailConfig)).reminder or await obstacle_to_mail(session, settings):
        return InvoiceEmailAnswer.OFF
    return await _queue_asked(session, invoice, EmailKind.REMINDER, {"due_date": instant(invoice.due_date)})


async def _queue_asked(
    session: AsyncSession, invoice: Invoice, kind: EmailKind, details: Mapping[str, Any]
) -> InvoiceEmailAnswer:
    if address_of(await session.get_one(Customer, invoice.customer_id)) is None:
        return InvoiceEmailAnswer.NO_ADDRESS
    email = NewEmail(
        kind=kind,
        entity_id=invoice.id,
        occasion=f"asked {new_ulid()}",
        customer_id=invoice.customer_id,
        invoice_id=invoice.id,
        details=details,
    )
    await session.run_sync(queue, [email])
    return InvoiceEmailAnswer.QUEUED


async def send_again(session: AsyncSession, email_id: str) -> None:
    """Queue a parked mail again, from the first attempt on. Raises InvalidOperation unless it is parked, NotFound."""
    now = real_clock_of(session).now()
    queued = await session.scalar(
        update(Email)
        .where(Email.id == email_id, Email.state == EmailState.PARKED)
        .values(state=EmailState.QUEUED, attempts=0, queued_at=now, next_attempt_at=now, finished_at=None, reason=None)
        .returning(Email.id)
        .execution_options(synchronize_session=False)
    )
    if queued is None:
        email = await find(session, Email, email_id)
        raise InvalidOperation(
            f"the mail is {email.state.value}; only a parked one can be sent again", {"email_id": email_id}
        )
