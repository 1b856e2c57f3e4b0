"""The draft that a checkout holds: what a change would charge, worked out in a savepoint that is undone, and kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO
from farthing.customers.tables import Customer
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.figures.computation import compute, published_lines
from farthing.invoices.figures.conversion import conversion_need
from farthing.invoices.figures.settlement import settle
from farthing.invoices.lifecycle import drafts
from farthing.invoices.lifecycle.holding import hold
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.storage.tables import Base

_OF_THE_ISSUE = frozenset(
    {
        "id",
        "owner_id",
        "invoice_number",
        "finalized_at",
        "paid_at",
        "voided_at",
        "collect_at",
        "recompute_at",
        "due_date",
        "seller_version_id",
        "buyer_version_id",
        "created_at",
        "updated_at",
        "created_by",
        "updated_by",
    }
)
"""What a draft does not have yet, or has of its own."""


@dataclass(frozen=True, slots=True)
class ForeseenInvoice:
    """What a change would be charged, before anything is paid: the columns of the invoice and of its lines."""

    columns: dict[str, Any]
    lines: tuple[dict[str, Any], ...]


async def foresee(session: AsyncSession, change: Callable[[], Awaitable[Invoice | None]]) -> ForeseenInvoice | None:
    """Make a change, look at the invoice that it leads to, and undo it all; None when it charges nothing.

    What the session remembers of rows that the change has touched is forgotten with it. Raises what the change raises,
    and InvalidOperation for an invoice that is converted when it becomes final.
    """
    savepoint = await session.begin_nested()
    try:
        invoice = await change()
        if invoice is None or invoice.total <= 0:
            return None
        await _require_kept_currency(session, invoice)
        lines = await published_lines(session, invoice.id)
        return ForeseenInvoice(_columns(invoice), tuple(_columns(line) for line in lines))
    finally:
        await savepoint.rollback()


async def _require_kept_currency(session: AsyncSession, invoice: Invoice) -> None:
    """Refuse what is paid in another currency than it is charged in: a draft cannot ask for that amount yet.

    Rule: docs/rules/checkout.md#opening
    """
    need = conversion_need(invoice, await session.get(Customer, invoice.customer_id))
    if need is not None or invoice.fx_rate is not None:
        raise InvalidOperation(
            "the invoice is converted into its payer's currency when it becomes final, so it is not paid by a checkout",
            {"customer_id": invoice.customer_id},
        )


def _columns(row: Base) -> dict[str, Any]:
    names = [attribute.key for attribute in type(row).__mapper__.column_attrs]
    return {name: getattr(row, name) for name in names if name not in _OF_THE_ISSUE}


async def hold_draft(
    session: AsyncSession, foreseen: ForeseenInvoice, checkout_id: str, now: datetime, *, is_opening: bool
) -> Invoice:
    """Write what was foreseen as the draft that a checkout holds.

    That of an opening is found again when the opening is billed. Any other names no line items, which do not exist yet,
    and no key, which names them.
    """
    invoice = Invoice(**foreseen.columns)
    invoice.id = new_id(Kind.INVOICE)
    invoice.invoice_status, invoice.payment_status = InvoiceStatus.DRAFT, PaymentStatus.PENDING
    invoice.amount_paid = invoice.total_prepaid_credits_applied = ZERO
    invoice.version = 1
    if not is_opening:
        invoice.idempotency_key = None
    hold(invoice, checkout_id)
    session.add(invoice)
    lines = [InvoiceLineItem(**columns) for columns in foreseen.lines]
    for line in lines:
        if not is_opening:
            line.subscription_line_item_id = None
    drafts.add_lines(session, invoice, lines)
    await session.flush()
    await compute(session, invoice, now)
    await settle(session, invoice, now)
    await events.record_invoice_event(session, InvoiceEvent.DRAFTED, invoice)
    return invoice
