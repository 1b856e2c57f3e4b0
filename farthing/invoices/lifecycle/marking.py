"""Marking an invoice paid, unpaid or failed by hand.

Rule: docs/rules/invoices-and-payments.md#marking-by-hand
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.money import ZERO
from farthing.customers.tables import Customer
from farthing.invoices.figures.conversion import conversion_need
from farthing.invoices.figures.settlement import record_settlement
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle.holding import require_free
from farthing.invoices.lifecycle.transitions import finalize_to_collect, resettle
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.settlement_tables import PaymentSettlement, SettlementKind
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import lock_row

_OPEN = frozenset({PaymentStatus.PENDING, PaymentStatus.SUCCEEDED, PaymentStatus.FAILED})
MARKS = MappingProxyType(
    {
        PaymentStatus.PENDING: _OPEN,
        PaymentStatus.FAILED: _OPEN,
        PaymentStatus.SUCCEEDED: frozenset({PaymentStatus.SUCCEEDED}),
    }
)
"""From a payment status to the marks it allows; any other status allows none."""


async def mark(
    session: AsyncSession,
    invoice_id: str,
    status: PaymentStatus,
    amount: Decimal | None,
    now: datetime,
    *,
    effects: InvoiceHooks,
) -> Invoice:
    """Book the invoice's single settlement by hand and derive its standing from it.

    PENDING makes `amount` (if given) what was paid; SUCCEEDED pays what is due; FAILED pays nothing. A draft that is
    thereby paid in full is finalized first. Marking a paid invoice paid changes nothing. Raises InvalidOperation when
    real money or a refund is on the books, or the state forbids; ValidationFailed for more than is due.
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status not in {InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED}:
        raise _refused(invoice, f"a {invoice.invoice_status} invoice cannot be marked")
    require_free(invoice)
    if invoice.refunded_amount > 0 or await _has_payment(session, invoice.id):
        raise _refused(invoice, "an invoice with a payment or a refund cannot be marked by hand")
    if status not in MARKS.get(invoice.payment_status, frozenset()):
        raise _refused(invoice, f"payment status cannot go from {invoice.payment_status} to {status}")
    if invoice.payment_status is PaymentStatus.SUCCEEDED:
        return invoice

    if status is PaymentStatus.PENDING and amount is not None:
        if amount > invoice.amount_due:
            raise ValidationFailed.of("amount", "must not be more than amount_due")
        if amount == invoice.amount_due and amount > 0:
            status = PaymentStatus.SUCCEEDED
    if status is PaymentStatus.SUCCEEDED:
        await finalize_to_collect(session, invoice, now, effects=effects)
        amount = invoice.amount_due
        invoice.settles_at_zero = True
    elif status is PaymentStatus.FAILED:
        amount = ZERO
    if amount:
        await _require_settled_currency(session, invoice)
    paid = None
    if amount is not None:
        paid = await record_settlement(session, invoice, SettlementKind.MANUAL, amount)
    invoice.latest_attempt_failed = status is PaymentStatus.FAILED
    await resettle(session, invoice, now, effects=effects, paid=paid)
    return invoice


async def _require_settled_currency(session: AsyncSession, invoice: Invoice) -> None:
    """Raise InvalidOperation for a draft that is converted when it becomes final: what was paid would not be."""
    need = conversion_need(invoice, await session.get(Customer, invoice.customer_id))
    if need is not None:
        raise _refused(invoice, f"the draft will be payable in {need.to_currency}; finalize it before it is paid")


async def _has_payment(session: AsyncSession, invoice_id: str) -> bool:
    query = select(PaymentSettlement.id).where(
        PaymentSettlement.invoice_id == invoice_id,
        PaymentSettlement.kind == SettlementKind.PAYMENT,
        PaymentSettlement.amount > 0,
    )
    return (await session.scalar(query.limit(1))) is not None


def _refused(invoice: Invoice, reason: str) -> InvalidOperation:
    return InvalidOperation(
        reason,
        {
            "invoice_id": invoice.id,
            "invoice_status": invoice.invoice_status.value,
            "payment_status": invoice.payment_status.value,
        },
    )
