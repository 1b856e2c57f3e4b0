"""What of the lines of final invoices went back without anybody having asked for it here: it is not given back again.

It is counted as if a credit note had taken it of all lines alike; what was paid too much, and what credits paid for
what is not charged any more, is used up first.
Rule: docs/rules/credit-notes.md#what-went-back-already
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.tables import ProrationSettlement
from farthing.core import currency
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO, allocate, exact_sum
from farthing.credits.notes.lifecycle.limits import InvoiceLines, creditable_lines
from farthing.credits.notes.lifecycle.lines import TakenBack, source_net_of
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteStatus
from farthing.credits.rules.notes import divide
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.unasked import unasked_by_invoice


async def sent_back_by_line(session: AsyncSession, invoice_ids: Collection[str]) -> Mapping[str, TakenBack]:
    """What of each line of these invoices went back unasked, net and tax; lines of which nothing did are left out."""
    found: dict[str, TakenBack] = {}
    for invoice_id, unasked in (await unasked_by_invoice(session, invoice_ids)).items():
        invoice = await session.get_one(Invoice, invoice_id)
        lines = await creditable_lines(session, invoice)
        found |= _by_line(invoice, lines, unasked, await _given_without_note(session, invoice))
    return found


def _by_line(
    invoice: Invoice, lines: InvoiceLines, unasked: Decimal, given: Mapping[str, Decimal]
) -> dict[str, TakenBack]:
    """Spread over the lines what can be given back of them no more; `given` was credited of them without a note."""
    digits = currency.digits(invoice.currency)
    left = [
        max(EXACT.subtract(EXACT.add(line.net, line.tax), EXACT.add(line.credited, given.get(line_id, ZERO))), ZERO)
        for line_id, line in lines.creditable.items()
    ]
    funded = EXACT.add(invoice.amount_paid, invoice.total_prepaid_credits_applied)
    returned = exact_sum([invoice.refunded_amount, unasked, *given.values()])
    kept = max(EXACT.subtract(funded, returned), ZERO)
    unpaid = max(EXACT.subtract(invoice.total, EXACT.add(invoice.adjustment_amount, invoice.amount_paid)), ZERO)
    gone = min(unasked, max(EXACT.subtract(exact_sum(left), EXACT.add(kept, unpaid)), ZERO))
    if gone <= ZERO:
        return {}
    found = {}
    for (line_id, line), share in zip(lines.creditable.items(), allocate(gone, left, digits), strict=True):
        if share > ZERO:
            parts = divide(line, share, digits)
            source = source_net_of(invoice, lines.rows[line_id], parts.net)
            found[line_id] = TakenBack(line_id, parts.net, parts.taxes, source)
    return found


async def _given_without_note(session: AsyncSession, invoice: Invoice) -> dict[str, Decimal]:
    """What credits for unused time have paid out of each line beside notes, as they do where no tax is on it."""
    line, entry, noted = InvoiceLineItem, ProrationSettlement, CreditNoteLine
    settled = await session.execute(
        select(line.id, func.sum(entry.credited_to_payer))
        .join(entry, entry.subscription_line_item_id == line.subscription_line_item_id)
        .where(
            line.invoice_id == invoice.id,
            line.status == Status.PUBLISHED,
            line.period_start >= entry.window_start,
            line.period_start < entry.window_end,
            entry.credited_to_payer > 0,
            entry.currency == invoice.currency,
        )
        .group_by(line.id)
    )
    of_notes = await session.execute(
        select(noted.invoice_line_item_id, func.sum(noted.net_amount))
        .join(CreditNote, CreditNote.id == noted.credit_note_id)
        .where(
            CreditNote.invoice_id == invoice.id,
            CreditNote.settlement_key.is_not(None),
            CreditNote.credit_note_status == CreditNoteStatus.FINALIZED,
        )
        .group_by(noted.invoice_line_item_id)
    )
    by_note: dict[str, Decimal] = dict(of_notes.all())
    return {line_id: max(EXACT.subtract(amount, by_note.get(line_id, ZERO)), ZERO) for line_id, amount in settled}
