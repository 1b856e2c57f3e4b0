"""The life of an invoice: draft, finalized, voided, and money that arrives meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.invoices.effects import NOTHING_ABOVE, Effects
from farthing.invoices.standing import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice

TRANSITIONS = MappingProxyType(
    {
        InvoiceStatus.DRAFT: frozenset({InvoiceStatus.FINALIZED, InvoiceStatus.SKIPPED, InvoiceStatus.VOIDED}),
        InvoiceStatus.SKIPPED: frozenset({InvoiceStatus.DRAFT, InvoiceStatus.VOIDED}),
        InvoiceStatus.FINALIZED: frozenset({InvoiceStatus.VOIDED}),
        InvoiceStatus.VOIDED: frozenset(),
    }
)
"""Where an invoice may go. Rule: invoices, "lifecycle"."""

VOIDABLE = frozenset(
    {
        PaymentStatus.PENDING,
        PaymentStatus.FAILED,
        PaymentStatus.SUCCEEDED,
        PaymentStatus.PARTIALLY_REFUNDED,
        PaymentStatus.OVERPAID,
    }
)


def move(invoice: Invoice, to: InvoiceStatus) -> None:
    """Change the state. Raises InvalidOperation naming both states."""
    if to not in TRANSITIONS[invoice.invoice_status]:
        raise InvalidOperation(
            f"invoice status is not allowed: cannot go from {invoice.invoice_status} to {to}",
            {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value, "requested": to.value},
        )
    invoice.invoice_status = to


async def finalize(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    effects: Effects = NOTHING_ABOVE,
    number: str | None = None,
) -> Invoice:
    """Make a locked draft a claim: last computation with prepaid credits, its number, its standing.

    `number` is the caller's own and takes no sequence value. A skipped invoice stays as it is. Raises ValidationFailed
    unless it is a draft, InvalidOperation for a subscription's draft that was never computed, AlreadyExists for a
    number in use.
    """
    raise NotImplementedError


async def void(
    session: AsyncSession,
    invoice: Invoice,
    now: datetime,
    *,
    metadata: Mapping[str, str] | None = None,
    effects: Effects = NOTHING_ABOVE,
) -> Invoice:
    """Cancel a locked invoice and give back what was paid on it and not returned yet.

    `metadata` is merged. Raises InvalidOperation when it is voided already or its payment status forbids.
    """
    raise NotImplementedError


async def receive(
    session: AsyncSession,
    invoice: Invoice,
    payment_id: str,
    amount: Decimal,
    now: datetime,
    *,
    effects: Effects = NOTHING_ABOVE,
) -> Invoice:
    """Count a payment that succeeded on a locked invoice; a draft is finalized first.

    The same payment counts once. A voided invoice takes the money too, so that the books show it; returning it is the
    caller's next step. Tells `invoice.update.payment`.
    """
    raise NotImplementedError


async def payment_failed(session: AsyncSession, invoice: Invoice, now: datetime) -> Invoice:
    """Note that the latest attempt to collect a locked invoice failed. Tells `invoice.update.payment`."""
    raise NotImplementedError


async def resettle(session: AsyncSession, invoice: Invoice, now: datetime, *, effects: Effects = NOTHING_ABOVE) -> None:
    """Settle a locked invoice, tell `invoice.update.payment`, and let the floors above know if it is now paid."""
    raise NotImplementedError
