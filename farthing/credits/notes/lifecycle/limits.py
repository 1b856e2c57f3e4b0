"""What may be credited on an invoice, read from its rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteStatus, CreditNoteType
from farthing.credits.rules.notes import CreditableLine, line_ceiling, most_adjusted, most_refunded
from farthing.invoices.figures.computation import calculate, published_lines
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.unasked import sent_back_unasked
from farthing.payments.tables import Payment
from farthing.rating.totals.discounts import CouponType

_REFUNDING = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.PARTIALLY_REFUNDED})


def type_for(invoice: Invoice) -> CreditNoteType:
    """Whether a note on the invoice as it stands refunds or adjusts.

    Rule: docs/rules/credit-notes.md#adjustment-or-refund
    """
    refunds = invoice.payment_status in _REFUNDING or invoice.payment_status is PaymentStatus.REFUNDED
    return CreditNoteType.REFUND if refunds else CreditNoteType.ADJUSTMENT


def require_creditable(invoice: Invoice) -> None:
    """Raises InvalidOperation for an invoice that takes no note."""
    details = {
        "invoice_id": invoice.id,
        "invoice_status": invoice.invoice_status.value,
        "payment_status": invoice.payment_status.value,
    }
    if invoice.invoice_status is not InvoiceStatus.FINALIZED:
        raise InvalidOperation(f"a {invoice.invoice_status.value} invoice takes no credit note", details)
    if invoice.payment_status is PaymentStatus.REFUNDED:
        raise InvalidOperation("the invoice was refunded in full", details)
    if invoice.wallet_transaction_id is not None:
        raise InvalidOperation(
            "an invoice that sells credits takes no credit note; void it while it is unpaid", details
        )


async def available_amount(
    session: AsyncSession, invoice: Invoice, kind: CreditNoteType, *, except_note: str = ""
) -> Decimal:
    """What a note of this kind may come to on a locked invoice, drafts of others taken into account."""
    set_aside = await session.scalar(
        select(func.coalesce(func.sum(CreditNote.total_amount), 0)).where(
            CreditNote.invoice_id == invoice.id,
            CreditNote.credit_note_type == kind,
            CreditNote.credit_note_status == CreditNoteStatus.DRAFT,
            CreditNote.id != except_note,
        )
    )
    if kind is CreditNoteType.REFUND:
        returned = EXACT.add(invoice.refunded_amount, await sent_back_unasked(session, invoice))
        return most_refunded(invoice.amount_paid, returned, set_aside or ZERO)
    in_flight = await session.scalar(
        select(func.coalesce(func.sum(Payment.amount), 0)).where(
            Payment.destination_id == invoice.id, Payment.payment_status == PaymentStatus.PROCESSING
        )
    )
    set_aside = EXACT.add(set_aside or ZERO, in_flight or ZERO)
    return most_adjusted(invoice.total, invoice.adjustment_amount, invoice.amount_paid, set_aside)


def require_within(requested: Decimal, maximum: Decimal) -> None:
    """Raises ValidationFailed for more than is available."""
    if requested > maximum:
        raise ValidationFailed(
            f"credit amount exceeds available limit: {plain(requested)} is more than {plain(maximum)}",
            {"requested_amount": plain(requested), "maximum_allowed": plain(maximum)},
        )


@dataclass(frozen=True, slots=True)
class InvoiceLines:
    """The lines of an invoice by id, in their order, and what may be credited of each."""

    rows: dict[str, InvoiceLineItem]
    creditable: dict[str, CreditableLine]


async def creditable_lines(session: AsyncSession, invoice: Invoice) -> InvoiceLines:
    """The lines of an invoice with their tax, and what notes that are not void have credited of each."""
    lines = await published_lines(session, invoice.id)
    totals = calculate(invoice, lines, invoice.total_prepaid_credits_applied)
    fixed: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for applied in totals.coupon_applications:
        if applied.coupon.type is CouponType.FIXED:
            for line_id, share in applied.shares:
                fixed[line_id] = EXACT.add(fixed[line_id], share)
    credited: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    taxes: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)
    noted = await session.scalars(
        select(CreditNoteLine)
        .join(CreditNote, CreditNote.id == CreditNoteLine.credit_note_id)
        .where(CreditNote.invoice_id == invoice.id, CreditNote.credit_note_status != CreditNoteStatus.VOIDED)
    )
    for row in noted:
        credited[row.invoice_line_item_id] = EXACT.add(credited[row.invoice_line_item_id], row.amount)
        by_rate = taxes[row.invoice_line_item_id]
        for tax in row.taxes:
            rate = tax["tax_rate_id"]
            by_rate[rate] = EXACT.add(by_rate.get(rate, ZERO), Decimal(tax["amount"]))
    creditable = {
        line.id: CreditableLine(
            amount=worked.amount,
            net=EXACT.subtract(worked.amount, worked.discount),
            taxes=_by_rate(worked.taxes),
            credited=credited[line.id],
            credited_taxes=taxes[line.id],
            fixed_discount=fixed[line.id],
        )
        for line, worked in zip(lines, totals.lines, strict=True)
    }
    return InvoiceLines({line.id: line for line in lines}, creditable)


async def require_lines_within(session: AsyncSession, invoice: Invoice, note: CreditNote) -> None:
    """Raises ValidationFailed if notes that were made since the draft leave no room for it on one of its lines."""
    overpaid = EXACT.subtract(invoice.amount_paid, invoice.amount_due)
    on_invoice = await creditable_lines(session, invoice)
    own = await session.scalars(
        select(CreditNoteLine.invoice_line_item_id).where(CreditNoteLine.credit_note_id == note.id)
    )
    for line_id in own:
        line = on_invoice.creditable[line_id]
        require_within(line.credited, line_ceiling(line, overpaid))


def _by_rate(taxes: tuple[tuple[str, Decimal], ...]) -> dict[str, Decimal]:
    summed: dict[str, Decimal] = {}
    for rate, share in taxes:
        summed[rate] = exact_sum([summed.get(rate, ZERO), share])
    return summed
