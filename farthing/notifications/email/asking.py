"""Mails that somebody asks for: an invoice once more, and one that was parked.

Rule: docs/rules/email.md#sending-again
"""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.ids import new_ulid
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.invoices.ports import InvoiceEmailAnswer
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.notifications.email.queueing import NewEmail, queue
from farthing.notifications.email.recipients import address_of, is_development
from farthing.notifications.email.tables import Email, EmailKind, EmailState
from farthing.settings import Settings
from farthing.storage.postgres import real_clock_of
from farthing.storage.queries.rows import find


async def may_send(session: AsyncSession, settings: Settings) -> bool:
    """Whether mail leaves the session's environment at all."""
    if settings.mail_server() is None or not (await read(session, EmailConfig)).enabled:
        return False
    return settings.mail_test_to is not None or not await is_development(session)


async def mail_invoice(session: AsyncSession, invoice: Invoice, settings: Settings) -> InvoiceEmailAnswer:
    """Queue the mail with an invoice once more; what becomes of it."""
    is_issued = invoice.status is Status.PUBLISHED and invoice.invoice_status is InvoiceStatus.FINALIZED
    is_wanted = (await read(session, EmailConfig)).invoice_issued
    if not (is_issued and is_wanted and await may_send(session, settings)):
        return InvoiceEmailAnswer.OFF
    if address_of(await session.get_one(Customer, invoice.customer_id)) is None:
        return InvoiceEmailAnswer.NO_ADDRESS
    email = NewEmail(
        kind=EmailKind.INVOICE_ISSUED,
        entity_id=invoice.id,
        occasion=f"asked {new_ulid()}",
        customer_id=invoice.customer_id,
        invoice_id=invoice.id,
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
