"""Attempting to collect an invoice with what its payer has on file.

Rule: docs/rules/invoices-and-payments.md#automatic-collection
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.money import ZERO
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments import saved_methods
from farthing.payments.integrations.gateways import COLLECTORS, Gateways
from farthing.payments.processing.creation import create
from farthing.payments.processing.execution import NotStartable, PaymentPoint, carry_on
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.tables import Connection, DestinationType, Gateway, Payment
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.rows import find

_PAID = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.REFUNDED})


async def attempt(session: AsyncSession, gateways: Gateways, invoice_id: str, clock: Clock) -> None:
    """Try to collect what remains on an invoice. A try that fails is no error: the invoice shows it.

    Raises InvalidOperation unless the invoice is finalized, or when a one-off owes nothing. A one-off is charged to
    the payer's saved method; a subscription's invoice is collected as its subscription says, by a floor above.
    """
    interrupted = resume_point(session, PaymentPoint)
    if interrupted is not None:
        await charge(session, gateways, await find(session, Payment, interrupted.payment_id), clock)
        return
    invoice = await find(session, Invoice, invoice_id)
    if invoice.invoice_status is InvoiceStatus.SKIPPED:
        return
    if invoice.invoice_status is not InvoiceStatus.FINALIZED:
        raise InvalidOperation(
            f"invoice is {invoice.invoice_status}; only a finalized one can be collected", {"invoice_id": invoice_id}
        )
    if invoice.invoice_type is InvoiceType.SUBSCRIPTION:
        return
    if invoice.payment_status in _PAID or invoice.amount_remaining <= ZERO:
        raise InvalidOperation(
            "nothing remains to be paid on the invoice",
            {"invoice_id": invoice_id, "payment_status": invoice.payment_status.value},
        )
    if await collected_elsewhere(session):
        return
    payment = await payment_by_saved_method(session, gateways, invoice, clock)
    if payment is not None:
        await commit_midway(session, PaymentPoint(payment.id))  # the provider is asked next
        await charge(session, gateways, payment, clock)


async def payment_by_saved_method(
    session: AsyncSession, gateways: Gateways, invoice: Invoice, clock: Clock
) -> Payment | None:
    """A payment of what remains by the payer's saved method, default first, not committed; None without a method.

    The same attempt made twice at once, or again after an interruption, is one payment.
    """
    for gateway in await saved_methods.connected_gateways(session):
        saved = await saved_methods.saved_at(session, gateways, invoice.customer_id, gateway)
        usable = [method for method in saved.items if method.can_auto_charge]
        if not usable:
            continue
        asked = CreatePaymentRequest(
            destination_type=DestinationType.INVOICE,
            destination_id=invoice.id,
            payment_method_type=usable[0].type,
            payment_method_id=usable[0].id,
            payment_gateway=Gateway(gateway),
            amount=invoice.amount_remaining,
            currency=invoice.currency,
            process_payment=True,
            metadata={"payment_source": "saved_method"},
        )
        return (await create(session, asked, clock.now())).payment
    return None


async def charge(session: AsyncSession, gateways: Gateways, payment: Payment, clock: Clock) -> None:
    """Carry an automatic payment out, or on. A refusal is stored as a failed payment, and no error."""
    try:
        await carry_on(session, gateways, payment, clock)
    except NotStartable:
        pass  # whoever made the same attempt at the same time has it in hand
    except InvalidOperation as refusal:
        if "payment_id" not in refusal.details:
            raise


async def collected_elsewhere(session: AsyncSession) -> bool:
    """Whether a connected provider gets every invoice and collects it by itself."""
    connections = await session.scalars(
        select(Connection).where(Connection.status == Status.PUBLISHED, Connection.provider_type.in_(COLLECTORS))
    )
    return any(((found.sync_config or {}).get("invoice") or {}).get("outbound", False) for found in connections)
