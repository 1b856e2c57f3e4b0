"""Changes to an invoice that is not settled history yet: its details, and a draft's charges by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import PriceType, Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.figures.computation import compute, published_lines
from farthing.invoices.figures.settlement import settle
from farthing.invoices.figures.terms import coupons_on, stored
from farthing.invoices.lifecycle import drafts
from farthing.invoices.lifecycle.holding import require_free
from farthing.invoices.lifecycle.one_off import check_subtotal, lines_of, redeemed_terms, synthetic_line
from farthing.invoices.lifecycle.references import check_references
from farthing.invoices.lifecycle.transitions import refuse_reserved
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.requests import (
    AddLineItemRequest,
    ComputeInvoiceRequest,
    InvoiceModifyLineItemParams,
    UpdateInvoiceRequest,
    UpdateLineItemRequest,
)
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import lock_row, not_found


async def update(session: AsyncSession, invoice_id: str, asked: UpdateInvoiceRequest, now: datetime) -> Invoice:
    """Change the document's address, the due date or the metadata of a draft or a finalized invoice.

    Moving the due date arms the overdue event again. `apply_discount` works a draft's discounts, tax and totals out
    anew.
    Rule: docs/rules/invoices-and-payments.md#changes
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status not in {InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED}:
        raise _refused(invoice, f"a {invoice.invoice_status} invoice cannot be updated")
    if asked.apply_discount or asked.due_date is not None:
        require_free(invoice)
    if asked.apply_discount and invoice.invoice_status is not InvoiceStatus.DRAFT:
        raise _refused(invoice, "discounts can be applied to a draft only")
    if asked.invoice_pdf_url is not None:
        invoice.invoice_pdf_url = asked.invoice_pdf_url or None
    if asked.due_date is not None:
        if asked.due_date < now:
            raise ValidationFailed.of("due_date", "must not be in the past")
        if asked.due_date != invoice.due_date:
            if invoice.invoice_status is InvoiceStatus.FINALIZED and not invoice.due_date_moved:
                invoice.due_date_at_issue, invoice.due_date_moved = invoice.due_date, True
            invoice.due_date, invoice.derives_due_date = asked.due_date, False
            invoice.overdue_notified_at = None
    if asked.metadata is not None:
        refuse_reserved(asked.metadata, invoice.composed_metadata())
        invoice.meta = asked.metadata
    if asked.apply_discount:
        await compute(session, invoice, now)
        await settle(session, invoice, now)
    else:
        invoice.version += 1
    await events.record_invoice_event(session, InvoiceEvent.UPDATED, invoice)
    return invoice


async def modify_lines(
    session: AsyncSession, invoice_id: str, asked: InvoiceModifyLineItemParams, now: datetime
) -> Invoice:
    """Add, change or take off charges of a draft; discounts, tax and totals follow with the terms it has.

    Raises InvalidOperation unless it is a draft, NotFound for a line that is not on it.
    Rule: docs/rules/invoices-and-payments.md#line-edits
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status is not InvoiceStatus.DRAFT:
        raise _refused(invoice, "only a draft's lines can be edited")
    require_free(invoice)
    if asked.action == "add":
        await _add(session, invoice, asked.items or [])
    elif asked.action == "remove":
        for line in await _named(session, invoice, asked.line_item_ids or []):
            line.status = Status.ARCHIVED
    elif asked.line_item_id and asked.update:
        (line,) = await _named(session, invoice, [asked.line_item_id])
        _replace(session, line, asked.update)
    invoice.is_manually_edited = True
    await compute(session, invoice, now)
    await settle(session, invoice, now)
    await events.record_invoice_event(session, InvoiceEvent.UPDATED, invoice)
    return invoice


async def _add(session: AsyncSession, invoice: Invoice, items: Sequence[AddLineItemRequest]) -> None:
    behind = await session.scalar(
        select(func.max(InvoiceLineItem.position)).where(InvoiceLineItem.invoice_id == invoice.id)
    )
    lines = [
        InvoiceLineItem(
            display_name=item.display_name,
            amount=item.amount,
            quantity=item.quantity,
            price_type=PriceType.FIXED,
            period_start=item.period_start,
            period_end=item.period_end,
            meta={"description": item.description} if item.description else {},
        )
        for item in items
    ]
    drafts.add_lines(session, invoice, lines, start=0 if behind is None else behind + 1)


async def _named(session: AsyncSession, invoice: Invoice, ids: Sequence[str]) -> list[InvoiceLineItem]:
    lines = {line.id: line for line in await published_lines(session, invoice.id)}
    for line_id in ids:
        if line_id not in lines:
            raise not_found(InvoiceLineItem, line_id)
    return [lines[line_id] for line_id in dict.fromkeys(ids)]


_FIGURES_WORKED_OUT = {"line_item_discount", "invoice_level_discount", "prepaid_credits_applied"}
_NOT_COPIED = {
    *_FIGURES_WORKED_OUT,
    "id",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
    "parent_line_item_id",
    "metadata",
}


def _replace(session: AsyncSession, line: InvoiceLineItem, asked: UpdateLineItemRequest) -> None:
    """Archive `line` and put a changed copy in its place on the invoice."""
    columns = [name for name in InvoiceLineItem.__table__.columns.keys() if name not in _NOT_COPIED]  # noqa: SIM118
    copy = InvoiceLineItem(**{name: getattr(line, name) for name in columns})
    copy.parent_line_item_id = line.id
    copy.meta = dict(line.meta)
    for name in ("display_name", "amount", "quantity", "period_start", "period_end"):
        value = getattr(asked, name)
        if value is not None:
            setattr(copy, name, value)
    if asked.amount is not None:
        copy.proration_credit = ZERO  # what somebody sets is the whole charge
    if asked.description is not None:
        copy.meta["description"] = asked.description
    if copy.period_start and copy.period_end and copy.period_end < copy.period_start:
        raise ValidationFailed.of("line_item_params.update.period_end", "must not be before period_start")
    line.status = Status.ARCHIVED
    copy.id = new_id(Kind.INVOICE_LINE_ITEM)
    session.add(copy)


async def recompute(session: AsyncSession, invoice_id: str, asked: ComputeInvoiceRequest, now: datetime) -> Invoice:
    """Compute a draft that no subscription stands behind, after replacing what `asked` names.

    Raises InvalidOperation unless it is a draft that nobody edited by hand.
    Rule: docs/rules/invoices-and-payments.md#computing-a-draft
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status is not InvoiceStatus.DRAFT:
        raise _refused(invoice, "only a draft can be computed")
    require_free(invoice)
    if invoice.is_manually_edited:
        raise _refused(invoice, "a draft that was edited by hand is not computed again")
    assert invoice.invoice_type is not InvoiceType.SUBSCRIPTION, "billing computes subscriptions' drafts"
    if asked.line_items is not None or asked.subtotal is not None:
        await _replace_charges(session, invoice, asked)
    if asked.description is not None:
        invoice.description = asked.description
    if asked.due_date is not None and asked.due_date != invoice.due_date:
        invoice.due_date, invoice.derives_due_date = asked.due_date, False
        invoice.overdue_notified_at = None
    if asked.invoice_coupons is not None or asked.line_item_coupons is not None:
        had = {term.coupon_id: term for term in coupons_on(invoice.coupon_terms)}
        invoice.coupon_terms = stored(
            await redeemed_terms(
                session, invoice.currency, asked.line_item_coupons or [], asked.invoice_coupons or [], now, had=had
            )
        )
    await compute(session, invoice, now)
    await settle(session, invoice, now)
    await events.record_invoice_event(session, InvoiceEvent.UPDATED, invoice)
    return invoice


async def _replace_charges(session: AsyncSession, invoice: Invoice, asked: ComputeInvoiceRequest) -> None:
    if asked.line_items and asked.subtotal is not None:
        check_subtotal(asked.subtotal, asked.line_items, invoice.currency, invoice.invoice_type)
    await check_references(session, asked.line_items, invoice.currency)
    lines = lines_of(asked.line_items)
    if not lines and asked.subtotal is not None:
        lines = [synthetic_line(asked.subtotal)]
    for line in await published_lines(session, invoice.id):
        line.status = Status.ARCHIVED
    drafts.add_lines(session, invoice, lines)


def _refused(invoice: Invoice, reason: str) -> InvalidOperation:
    return InvalidOperation(reason, {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status.value})
