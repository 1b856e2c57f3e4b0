"""Locks of payments, in the order that every package keeps to: checkout, invoice, payment."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.payments.ports import PaymentPorts
from farthing.payments.tables import DestinationType, Payment
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row


async def lock_payment(session: AsyncSession, payment_id: str) -> tuple[Invoice | None, Payment]:
    """Lock a payment and, before it, the invoice it pays and what its checkout changes. Raises NotFound.

    A payment never changes its destination, so that what the session remembers of it is good for finding the invoice.
    """
    payment = await session.get(Payment, payment_id) or await find(session, Payment, payment_id)
    if payment.checkout_session_id is not None:
        await ports_of(session, PaymentPorts).checkouts.lock(session, payment.checkout_session_id)
    invoice = await lock_destination(session, payment)
    return invoice, await lock_row(session, Payment, payment_id)


async def lock_destination(session: AsyncSession, payment: Payment) -> Invoice | None:
    """Lock the invoice a payment pays, if it pays one. Raises NotFound."""
    if payment.destination_type is not DestinationType.INVOICE:
        return None
    return await lock_row(session, Invoice, payment.destination_id)
