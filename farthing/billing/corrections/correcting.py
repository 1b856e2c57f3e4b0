"""Making the differences of an invoice good, once for each state of its events.

The invoice is locked first, and with it those that charge for the same usage, in the order of their ids.
Rule: docs/rules/late-usage.md#corrections-of-invoices
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from farthing.billing.corrections.differences import (
    CHARGING_KINDS,
    CreditedPart,
    LineDifference,
    differences_of,
    require_correctable,
    state_of,
    taken_in,
)
from farthing.billing.corrections.one_off import charge_at_once
from farthing.billing.corrections.tables import (
    CorrectionDirection,
    CorrectionResolution,
    InvoiceCorrection,
    InvoiceCorrectionLine,
)
from farthing.billing.late_usage.pending import pending_charges
from farthing.core.errors import InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.notes.lifecycle.limits import require_creditable
from farthing.credits.notes.lifecycle.settlements import PaidPart, SettlementCause, announce_notes, take_back
from farthing.credits.notes.tables import CreditNote, CreditNoteReason
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_PAID_PARTS = {
    CorrectionResolution.CREDIT_NOTE: PaidPart.TO_WALLET,
    CorrectionResolution.NEXT_INVOICE: PaidPart.TO_NEXT_INVOICE,
}
_HAS_NEXT_INVOICE = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAUSED})


async def correct_invoice(
    session: AsyncSession, invoice_id: str, resolution: CorrectionResolution, now: datetime
) -> InvoiceCorrection:
    """Take back what an invoice charged too much, and let the next one charge what it charged too little, or one at
    once where the subscription has ended.

    The same state of the events again answers the correction that was made for it. Raises NotFound, and
    InvalidOperation where nothing is left to be made good this way.
    """
    invoices = await _lock_invoices(session, invoice_id)
    invoice = invoices[invoice_id]
    require_correctable(invoice)
    lines = await differences_of(session, invoice, now)
    less = [line for line in lines if line.is_taken_back]
    more = [line for line in lines if line.is_more] if resolution is CorrectionResolution.NEXT_INVOICE else []
    is_next = not more or await _has_next_invoice(session, invoice)
    # what waits for a next invoice that will not come is charged now, too
    waiting = await pending_charges(session, [invoice.subscription_id or ""]) if is_next else {}
    state = state_of(lines)
    if not less and all(line.recheckable.line.id in waiting for line in more):
        return await _made_before(session, invoice, resolution, state)
    correction = _new_correction(invoice, resolution, state)
    session.add(correction)
    await session.flush()
    parts = [(line, part) for line in less for part in line.parts]
    await _take_back(session, invoices, correction, [part for _, part in parts], now)
    session.add_all(_credit_line(correction, line, part) for line, part in parts)
    session.add_all(_charge_line(correction, line) for line in more if line.recheckable.line.id not in waiting)
    if not is_next:
        await session.flush()
        await charge_at_once(session, invoice, correction, more, now)
    correction.net_amount, correction.tax_amount = taken_in([part for _, part in parts], correction.currency)
    await session.flush()
    return correction


async def _lock_invoices(session: AsyncSession, invoice_id: str) -> dict[str, Invoice]:
    """The invoice and those that charge for the same items and periods, or share a longer commitment.

    Raises NotFound.
    """
    invoice = await find(session, Invoice, invoice_id)
    own, other = aliased(InvoiceLineItem), InvoiceLineItem
    charging = select(other.invoice_id).join(
        own,
        (own.subscription_line_item_id == other.subscription_line_item_id) & (own.period_start == other.period_start),
    )
    charging = charging.where(own.invoice_id == invoice_id, other.kind.in_(CHARGING_KINDS), other.status == "published")
    ids = {invoice_id, *await session.scalars(charging)}
    if await _has_longer_commitment(session, invoice_id):
        # what one of its invoices comes to is up to all of its window
        finalized = Invoice.invoice_status == InvoiceStatus.FINALIZED
        of_all = select(Invoice.id).where(Invoice.subscription_id == invoice.subscription_id, finalized)
        ids |= set(await session.scalars(of_all))
    rows = await session.scalars(
        select(Invoice)
        .where(in_array(Invoice.id, ids))
        .order_by(Invoice.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.id: row for row in rows}


async def _has_longer_commitment(session: AsyncSession, invoice_id: str) -> bool:
    """Whether a commitment of a subscription on the invoice, or of its line items, names a duration of its own."""
    charged = select(InvoiceLineItem.subscription_id).where(InvoiceLineItem.invoice_id == invoice_id)
    of_items = exists().where(
        SubscriptionLineItem.subscription_id == Subscription.id, SubscriptionLineItem.commitment_duration.is_not(None)
    )
    lasting = exists().where(Subscription.id.in_(charged), or_(Subscription.commitment_duration.is_not(None), of_items))
    return bool(await session.scalar(select(lasting)))


async def _made_before(
    session: AsyncSession, invoice: Invoice, resolution: CorrectionResolution, state: str
) -> InvoiceCorrection:
    row = InvoiceCorrection
    query = select(row).where(row.invoice_id == invoice.id, row.resolution == resolution, row.state_hash == state)
    made = (await session.scalars(query.order_by(row.created_at.desc(), row.id.desc()).limit(1))).first()
    if made is None:
        raise InvalidOperation(
            "there is nothing to correct this way",
            {"invoice_id": invoice.id, "resolution": resolution.value},
        )
    return made


async def _has_next_invoice(session: AsyncSession, invoice: Invoice) -> bool:
    subscription = await find(session, Subscription, invoice.subscription_id or "")
    if subscription.subscription_type is SubscriptionType.GROUPED_INVOICING:
        return False  # it was invoiced by itself before: its parent's next invoice is not its own
    return subscription.subscription_status in _HAS_NEXT_INVOICE


def _new_correction(invoice: Invoice, resolution: CorrectionResolution, state: str) -> InvoiceCorrection:
    return InvoiceCorrection(
        id=new_id(Kind.CORRECTION),
        invoice_id=invoice.id,
        subscription_id=invoice.subscription_id,
        customer_id=invoice.customer_id,
        currency=invoice.currency,
        resolution=resolution,
        state_hash=state,
        net_amount=ZERO,
        tax_amount=ZERO,
    )


async def _take_back(
    session: AsyncSession,
    invoices: dict[str, Invoice],
    correction: InvoiceCorrection,
    parts: Sequence[CreditedPart],
    now: datetime,
) -> None:
    cause = SettlementCause(
        correction.id,
        CreditNoteReason.BILLING_ERROR,
        memo="Corrected usage",
        paid_part=_PAID_PARTS[correction.resolution],
        correction_id=correction.id,
    )
    by_invoice: dict[str, list[CreditedPart]] = defaultdict(list)
    for part in parts:
        if part.taken.gross > ZERO:
            by_invoice[part.row.invoice_id].append(part)
    notes: list[CreditNote] = []
    for invoice_id in sorted(by_invoice):
        invoice = invoices[invoice_id]
        require_creditable(invoice)
        outcome = await take_back(session, invoice, [part.taken for part in by_invoice[invoice_id]], cause, now)
        if outcome.left > ZERO:
            raise InvalidOperation(
                "more is to be taken back than is unpaid or can be refunded on the invoice",
                {"invoice_id": invoice_id, "exceeding_amount": plain(outcome.left)},
            )
        notes += outcome.notes
    await announce_notes(session, notes, now)


def _credit_line(correction: InvoiceCorrection, line: LineDifference, part: CreditedPart) -> InvoiceCorrectionLine:
    """What was taken back; the usage that went stands with the first part."""
    is_first = part is line.parts[0]
    quantity = EXACT.subtract(line.late.rated.billable, line.recheckable.line.quantity)
    return InvoiceCorrectionLine(
        **_of_line(correction, line),
        invoice_id=part.row.invoice_id,
        invoice_line_item_id=part.row.id,
        direction=CorrectionDirection.CREDIT,
        amount=EXACT.minus(part.amount),
        quantity=quantity if is_first else ZERO,
        usage=line.late.usage if is_first else ZERO,
        commitment_base=line.late.base if is_first else None,
        net_amount=part.taken.net,
        tax_amount=part.taken.tax,
    )


def _charge_line(correction: InvoiceCorrection, line: LineDifference) -> InvoiceCorrectionLine:
    return InvoiceCorrectionLine(
        **_of_line(correction, line),
        invoice_id=correction.invoice_id,
        invoice_line_item_id=line.recheckable.line.id,
        direction=CorrectionDirection.CHARGE,
        amount=line.difference,
        quantity=EXACT.subtract(line.late.rated.billable, line.recheckable.line.quantity),
        usage=line.late.usage,
        net_amount=ZERO,
        tax_amount=ZERO,
    )


def _of_line(correction: InvoiceCorrection, line: LineDifference) -> dict[str, object]:
    invoiced = line.recheckable.line
    return {
        "id": new_id(Kind.CORRECTION_LINE),
        "correction_id": correction.id,
        "usage_line_id": invoiced.id,
        "subscription_id": invoiced.billed,
        "subscription_line_item_id": invoiced.item_id,
        "period_start": invoiced.window.start,
    }
