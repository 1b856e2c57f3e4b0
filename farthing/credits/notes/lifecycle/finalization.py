"""A credit note takes effect, or is voided: the invoice's figures, and what becomes of the money."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.credits.invoicing.prepaid_money import credit_wallet
from farthing.credits.notes.lifecycle import limits
from farthing.credits.notes.lifecycle.events import record_note_event
from farthing.credits.notes.tables import CREDIT_NOTE, CreditNote, CreditNoteReason, CreditNoteStatus, CreditNoteType
from farthing.invoices.lifecycle import transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.payments.ports import WalletCredit
from farthing.payments.refunds.records import RefundCause, record_wallet_refund
from farthing.payments.refunds.sources import plan_source_refunds, record_source_refunds
from farthing.payments.refunds.tables import RefundReason, RefundTarget
from farthing.payments.unapplied.money import keep_credit
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row

_REASONS = {
    CreditNoteReason.DUPLICATE: RefundReason.DUPLICATE,
    CreditNoteReason.FRAUDULENT: RefundReason.FRAUDULENT,
    CreditNoteReason.ORDER_CHANGE: RefundReason.ORDER_CHANGE,
    CreditNoteReason.SERVICE_ISSUE: RefundReason.SERVICE_ISSUE,
    CreditNoteReason.UNSATISFACTORY: RefundReason.REQUESTED_BY_CUSTOMER,
    CreditNoteReason.SUBSCRIPTION_CANCELLATION: RefundReason.REQUESTED_BY_CUSTOMER,
    CreditNoteReason.BILLING_ERROR: RefundReason.OTHER,
}


def note_credit_key(note_id: str) -> str:
    """The key of what a note puts into a wallet."""
    return f"{note_id}/credit_note"


async def lock_note(session: AsyncSession, note_id: str) -> tuple[Invoice, CreditNote]:
    """Lock a note and, before it, its invoice. Raises NotFound."""
    note = await find(session, CreditNote, note_id)
    invoice = await lock_row(session, Invoice, note.invoice_id)
    return invoice, await lock_row(session, CreditNote, note_id)


async def finalize_draft(session: AsyncSession, note_id: str, target: RefundTarget | None, now: datetime) -> CreditNote:
    """Let a draft take effect; `target` replaces where its refund goes. Raises NotFound, InvalidOperation,
    ValidationFailed."""
    invoice, note = await lock_note(session, note_id)
    if note.credit_note_status is not CreditNoteStatus.DRAFT:
        raise _refused(note, f"a {note.credit_note_status.value} credit note cannot be finalized")
    if target is not None and note.credit_note_type is CreditNoteType.REFUND:
        to_source = target is RefundTarget.BACK_TO_SOURCE
        note.to_wallet = ZERO if to_source else note.total_amount
        note.to_source = note.total_amount if to_source else ZERO
        note.to_next_invoice, note.split_is_exact = ZERO, False
    limits.require_creditable(invoice)
    limits.require_within(
        note.total_amount,
        await limits.available_amount(session, invoice, note.credit_note_type, except_note=note.id),
    )
    await limits.require_lines_within(session, invoice, note)
    await finalize_note(session, invoice, note, now)
    await record_note_event(session, "credit_note.updated", note)
    return note


async def finalize_note(session: AsyncSession, invoice: Invoice, note: CreditNote, now: datetime) -> None:
    """Let a locked draft, whose limits were checked under the same lock, take effect on its locked invoice.

    Rule: docs/rules/credit-notes.md#effect
    """
    note.credit_note_status = CREDIT_NOTE.check(note.credit_note_status, CreditNoteStatus.FINALIZED)
    note.finalized_at = now
    await session.flush()
    if note.credit_note_type is CreditNoteType.REFUND:
        await _give_back(session, invoice, note, now)
    await rederive(session, invoice, now)
    note.invoice_version = invoice.version
    await session.flush()


async def rederive(session: AsyncSession, invoice: Invoice, now: datetime) -> None:
    """Derive what notes have adjusted and refunded on a locked, finalized invoice, and settle it."""
    sums = await session.execute(
        select(CreditNote.credit_note_type, func.sum(CreditNote.total_amount))
        .where(CreditNote.invoice_id == invoice.id, CreditNote.credit_note_status == CreditNoteStatus.FINALIZED)
        .group_by(CreditNote.credit_note_type)
    )
    by_type: dict[CreditNoteType, Decimal] = dict(sums.all())
    invoice.adjustment_amount = by_type.get(CreditNoteType.ADJUSTMENT, ZERO)
    invoice.refunded_amount = by_type.get(CreditNoteType.REFUND, ZERO)
    await transitions.resettle(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)


async def _give_back(session: AsyncSession, invoice: Invoice, note: CreditNote, now: datetime) -> None:
    """Send the parts of a refund where they go: what has no way back to its source goes into the wallet."""
    cause = RefundCause(invoice, note.id, _REASONS[note.reason], note.id)
    to_wallet = note.to_wallet
    if note.to_source > 0:
        parts = await plan_source_refunds(session, invoice, note.to_source)
        returned = exact_sum([part.amount for part in parts])
        rest = EXACT.subtract(note.to_source, returned)
        if rest > 0 and note.split_is_exact:
            raise ValidationFailed.of("split.back_to_source", f"must be at most {plain(returned)}")
        await record_source_refunds(session, cause, parts, now)
        note.to_source, note.to_wallet = returned, EXACT.add(to_wallet, rest)
        to_wallet = note.to_wallet
    if note.to_next_invoice > 0:
        await keep_credit(session, invoice, note.id, note.to_next_invoice)
    if to_wallet > 0:
        credit = WalletCredit(
            customer_id=invoice.customer_id,
            currency=invoice.currency,
            amount=to_wallet,
            key=note_credit_key(note.id),
            invoice_id=invoice.id,
            is_of_credit_note=True,
        )
        wallet_id = await credit_wallet(session, credit, now)
        await record_wallet_refund(session, cause, to_wallet, wallet_id, now)


async def void_note(session: AsyncSession, note_id: str, now: datetime) -> CreditNote:
    """Take a draft, or an adjustment that took effect, back. Raises NotFound, InvalidOperation.

    Rule: docs/rules/credit-notes.md#voiding
    """
    invoice, note = await lock_note(session, note_id)
    status = note.credit_note_status
    if status is CreditNoteStatus.VOIDED:
        raise _refused(note, "the credit note is void already")
    if note.settlement_key is not None:
        raise _refused(note, "a change of the subscription made the credit note, and stands")
    if note.correction_id is not None:
        raise _refused(note, "a correction of usage made the credit note; correct the events instead")
    if status is CreditNoteStatus.FINALIZED:
        if note.credit_note_type is CreditNoteType.REFUND:
            raise _refused(note, "a refund that took effect cannot be voided: the money has gone back")
        if invoice.invoice_status is not InvoiceStatus.FINALIZED:
            raise _refused(note, f"its invoice is {invoice.invoice_status.value}")
        if invoice.refunded_amount > 0:
            raise _refused(note, "its invoice was refunded since, and would become unpaid again")
    _mark_void(note, now)
    await session.flush()
    if status is CreditNoteStatus.FINALIZED:
        await rederive(session, invoice, now)
    await record_note_event(session, "credit_note.updated", note)
    return note


def _mark_void(note: CreditNote, now: datetime) -> None:
    note.credit_note_status = CREDIT_NOTE.check(note.credit_note_status, CreditNoteStatus.VOIDED)
    note.voided_at = now


async def void_drafts(session: AsyncSession, invoice: Invoice, now: Callable[[], datetime]) -> None:
    """Void the drafts on an invoice that is about to be voided; it is locked."""
    drafts = await session.scalars(
        select(CreditNote)
        .where(CreditNote.invoice_id == invoice.id, CreditNote.credit_note_status == CreditNoteStatus.DRAFT)
        .order_by(CreditNote.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for note in drafts.all():
        _mark_void(note, now())
        await session.flush()
        await record_note_event(session, "credit_note.updated", note)


def _refused(note: CreditNote, reason: str) -> InvalidOperation:
    return InvalidOperation(
        reason,
        {
            "credit_note_id": note.id,
            "credit_note_status": note.credit_note_status.value,
            "credit_note_type": note.credit_note_type.value,
        },
    )
