"""Settlement: what counts as paid on an invoice, and everything that follows from it.

`settle` is the one routine that writes due, paid, remaining, payment status and `paid_at`; whatever changes a total, a
settlement, a refund or an adjustment calls it afterwards, under the invoice's row lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, LARGEST_AMOUNT, ZERO, plain
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.settlement_tables import SINGLE_MARKS, PaymentSettlement, SettlementKind, WriteOffEntry
from farthing.invoices.tables import Invoice
from farthing.rating.totals.balance import balance, usage_share
from farthing.storage.postgres import clock_of, scope_of
from farthing.storage.queries.rows import in_array, set_changed


async def settle(session: AsyncSession, invoice: Invoice, now: datetime, *, paid: Decimal | None = None) -> None:
    """Derive what is due, paid and remaining, the payment status and `paid_at`; `version` grows by one.

    Call it with the invoice's row locked, after its total, adjustments, refunds, settlements or state changed.
    `paid` is the sum of its settlements, if the caller knows it.
    Rule: docs/rules/invoices-and-payments.md#settling
    """
    lost_before = invoice.written_off_amount
    derive(invoice, await settled_amount(session, invoice.id) if paid is None else paid, now)
    invoice.version += 1
    if invoice.written_off_amount is not None and lost_before is not None:
        _record_loss(session, invoice, EXACT.subtract(invoice.written_off_amount, lost_before))


def give_up_remainder(session: AsyncSession, invoice: Invoice, reason: str, now: datetime) -> None:
    """Write off what remains on a locked invoice, which owes something; `settle` keeps the loss true from then on."""
    invoice.written_off_at = now
    invoice.write_off_reason = reason
    invoice.written_off_amount = invoice.amount_remaining
    _record_loss(session, invoice, invoice.amount_remaining)


def expect_remainder(session: AsyncSession, invoice: Invoice) -> None:
    """Undo `give_up_remainder`; an invoice that is not written off stays as it is."""
    if invoice.written_off_amount is not None:
        _record_loss(session, invoice, -invoice.written_off_amount)
    invoice.written_off_at = invoice.write_off_reason = invoice.written_off_amount = None


def _record_loss(session: AsyncSession, invoice: Invoice, change: Decimal) -> None:
    if change:
        at = clock_of(session).now()
        session.add(WriteOffEntry(id=new_id(Kind.WRITE_OFF), invoice_id=invoice.id, amount=change, created_at=at))


async def settled_amount(session: AsyncSession, invoice_id: str) -> Decimal:
    """The sum of an invoice's settlements."""
    await session.flush()
    return (await settled_amounts(session, [invoice_id])).get(invoice_id, ZERO)


async def settled_amounts(session: AsyncSession, invoice_ids: Sequence[str]) -> dict[str, Decimal]:
    """The sums of invoices' settlements, by invoice; one that has none is left out."""
    query = select(PaymentSettlement.invoice_id, func.sum(PaymentSettlement.amount))
    query = query.where(in_array(PaymentSettlement.invoice_id, invoice_ids)).group_by(PaymentSettlement.invoice_id)
    return dict((await session.execute(query)).all())


async def lost_amounts(session: AsyncSession, invoice_ids: Sequence[str]) -> dict[str, Decimal]:
    """What was written off of invoices, less what came after all, by invoice; one never written off is left out."""
    query = select(WriteOffEntry.invoice_id, func.sum(WriteOffEntry.amount))
    query = query.where(in_array(WriteOffEntry.invoice_id, invoice_ids)).group_by(WriteOffEntry.invoice_id)
    return dict((await session.execute(query)).all())


def derive(invoice: Invoice, amount_paid: Decimal, now: datetime) -> None:
    """Set every figure that follows from the total, the adjustments, the refunds and what was paid.

    Raises ValidationFailed when payments come to more than can be stored.
    """
    if amount_paid > LARGEST_AMOUNT:
        reason = f"would be {plain(amount_paid)}; it must be at most {plain(LARGEST_AMOUNT)}"
        raise ValidationFailed(f"what was paid on the invoice {reason}", {"amount_paid": reason})
    left = balance(invoice.total, invoice.adjustment_amount, amount_paid)
    set_changed(
        invoice,
        amount_paid=amount_paid,
        amount_due=left.amount_due,
        amount_remaining=left.amount_remaining,
        written_off_amount=None if invoice.written_off_at is None else left.amount_remaining,
        usage_remaining=usage_share(
            left.amount_remaining, invoice.net_usage, invoice.net_total, currency.digits(invoice.currency)
        ),
    )
    status, paid_at = payment_status(invoice), invoice.paid_at
    if status in {PaymentStatus.PENDING, PaymentStatus.FAILED}:
        paid_at = None
    elif paid_at is None and left.amount_remaining == 0:
        paid_at = now
    set_changed(invoice, payment_status=status, paid_at=paid_at)


def payment_status(invoice: Invoice) -> PaymentStatus:
    """What the figures of an invoice say; the first rule that matches wins.

    A draft that comes to nothing is not paid: only an issued invoice can be.
    Rule: docs/rules/invoices-and-payments.md#settling
    """
    issued = invoice.finalized_at is not None
    if invoice.refunded_amount > 0:
        returnable = invoice.amount_paid
        if invoice.invoice_status == InvoiceStatus.VOIDED:
            returnable = EXACT.add(returnable, invoice.total_prepaid_credits_applied)
        whole = invoice.refunded_amount >= returnable
        return PaymentStatus.REFUNDED if whole else PaymentStatus.PARTIALLY_REFUNDED
    if issued and invoice.amount_paid > invoice.amount_due:
        return PaymentStatus.OVERPAID
    if issued and invoice.amount_remaining == 0 and (invoice.settles_at_zero or invoice.amount_due > 0):
        return PaymentStatus.SUCCEEDED
    if invoice.latest_attempt_failed and invoice.amount_paid == 0:
        return PaymentStatus.FAILED
    return PaymentStatus.PENDING


async def record_settlement(
    session: AsyncSession, invoice: Invoice, kind: SettlementKind, amount: Decimal, payment_id: str | None = None
) -> Decimal:
    """Count `amount` as paid and return the sum of all settlements; call `settle` with it afterwards.

    A payment settles its invoice once, whoever reports it and however often. Any other kind is the invoice's single
    mark and replaces the one before. The invoice is locked, or new.
    """
    scope = scope_of(session)
    await session.flush()
    paid: Decimal = (
        await session.execute(
            _COUNT_PAYMENT if kind is SettlementKind.PAYMENT else _REPLACE_MARK,
            {
                "id": new_id(Kind.INVOICE_SETTLEMENT),
                "tenant_id": scope.tenant_id,
                "environment_id": scope.environment_id,
                "invoice_id": invoice.id,
                "kind": kind.value,
                "payment_id": payment_id,
                "amount": amount,
                "created_at": clock_of(session).now(),
            },
        )
    ).scalar_one()
    return paid


def settlement_by(session: AsyncSession, invoice: Invoice, amount: Decimal, payment_id: str) -> PaymentSettlement:
    """What a payment that has just been made pays of an invoice, for whoever writes it with both."""
    return PaymentSettlement(
        id=new_id(Kind.INVOICE_SETTLEMENT),
        invoice_id=invoice.id,
        kind=SettlementKind.PAYMENT,
        payment_id=payment_id,
        amount=amount,
        created_at=clock_of(session).now(),
    )


def _settling(on_conflict: str) -> TextClause:
    """One settlement, and the sum of all: a statement does not see what it writes, so old and new are added up."""
    return text(
        f"""
        WITH written AS (
            INSERT INTO invoice_settlements
                (id, tenant_id, environment_id, invoice_id, kind, payment_id, amount, created_at)
            VALUES (:id, :tenant_id, :environment_id, :invoice_id, :kind, :payment_id, :amount, :created_at)
            ON CONFLICT {on_conflict}
            RETURNING id, amount
        )
        SELECT coalesce((SELECT sum(amount) FROM written), 0) + coalesce(
            (
                SELECT sum(amount) FROM invoice_settlements
                WHERE environment_id = :environment_id AND invoice_id = :invoice_id
                AND id NOT IN (SELECT id FROM written)
            ),
            0
        )
        """
    )


_COUNT_PAYMENT = _settling("DO NOTHING")
# the index's condition word for word, so that PostgreSQL recognises it
_REPLACE_MARK = _settling(
    f"(environment_id, invoice_id) WHERE {SINGLE_MARKS} DO UPDATE SET kind = excluded.kind, amount = excluded.amount"
)
