"""Money that went back without anybody having asked for it here: the payer's bank took it in a dispute, or somebody
sent it back at the provider itself. What it paid still counts as paid, but there is no more to give.

What of a payment stands on its customer's balance is taken off that first; the rest is missing on what the payment
pays, its own invoice before those that it was allocated to.
Rule: docs/rules/credit-notes.md#what-went-back-already
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import EXACT, ZERO
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.settlement_tables import PaymentSettlement, SettlementKind
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.records import BY_DISPUTE
from farthing.payments.refunds.tables import UNDERWAY, RefundDestination, RefundRecord, RefundStatus
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.payments.unapplied.tables import UnappliedMoney
from farthing.storage.queries.rows import in_array

ON_THE_WAY_OR_BACK = (*UNDERWAY, RefundStatus.SUCCEEDED)


async def sent_back_unasked(session: AsyncSession, invoice: Invoice) -> Decimal:
    """What of the money on an invoice went back beside its credit notes, its void and the returns that follow it."""
    return (await unasked_by_invoice(session, [invoice.id])).get(invoice.id, ZERO)


async def unasked_by_invoice(session: AsyncSession, invoice_ids: Collection[str]) -> Mapping[str, Decimal]:
    """The same of several invoices, by id; those of which nothing went back are left out."""
    if not invoice_ids:
        return {}
    await session.flush()
    settlement, money = PaymentSettlement, UnappliedMoney
    of_invoices = in_array(settlement.invoice_id, invoice_ids)
    direct = select(settlement.payment_id).where(of_invoices, settlement.kind == SettlementKind.PAYMENT)
    allocated = select(money.payment_id).join(settlement, settlement.unapplied_money_id == money.id).where(of_invoices)
    payments = await session.scalars(
        select(Payment).where(
            Payment.id.in_(direct.union_all(allocated)),
            Payment.payment_method_type != PaymentMethodType.CREDITS,
            Payment.refunded_amount > 0,
        )
    )
    missing = {}
    for payment in payments.all():
        unasked, withdrawn = await unasked_of_payment(session, payment)
        if unasked > withdrawn:
            missing[payment.id] = EXACT.subtract(unasked, withdrawn)
    if not missing:
        return {}
    on_invoices = await _missing_on_invoices(session, missing)
    return {invoice_id: amount for invoice_id, amount in on_invoices.items() if invoice_id in invoice_ids}


async def unasked_of_payment(session: AsyncSession, payment: Payment) -> tuple[Decimal, Decimal]:
    """What of a payment went back unasked, and what of that was withdrawn from its customer's balance."""
    refund = RefundRecord
    asked = select(func.coalesce(func.sum(refund.settled_amount), 0)).where(
        refund.payment_id == payment.id,
        refund.refund_destination != RefundDestination.WALLET,
        refund.idempotency_key.not_like(payment.id + BY_DISPUTE + "%"),
    )
    reserved = select(func.coalesce(func.sum(refund.amount), 0)).where(
        refund.payment_id == payment.id,
        refund.unapplied_money_id.is_not(None),
        refund.refund_status.in_(ON_THE_WAY_OR_BACK),
    )
    withdrawn = select(func.coalesce(func.sum(UnappliedMoney.withdrawn), 0)).where(
        UnappliedMoney.payment_id == payment.id
    )
    unasked = EXACT.subtract(payment.refunded_amount, await session.scalar(asked) or ZERO)
    taken = EXACT.subtract(await session.scalar(withdrawn) or ZERO, await session.scalar(reserved) or ZERO)
    return max(unasked, ZERO), taken


async def _missing_on_invoices(session: AsyncSession, missing: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Where the money that is `missing`, by payment, stood; what credit notes gave back is not missing once more."""
    settlement, money = PaymentSettlement, UnappliedMoney
    direct = (
        select(settlement.payment_id, settlement.amount, Invoice)
        .join(Payment, (Payment.id == settlement.payment_id) & (Payment.destination_id == settlement.invoice_id))
        .where(in_array(Payment.id, missing), settlement.kind == SettlementKind.PAYMENT)
    )
    allocated = (
        select(money.payment_id, settlement.amount, Invoice)
        .join(settlement, settlement.unapplied_money_id == money.id)
        .where(in_array(money.payment_id, missing))
    )
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    left = dict(missing)
    for query in (direct, allocated):
        uses = await session.execute(query.join(Invoice, Invoice.id == settlement.invoice_id).order_by(settlement.id))
        for payment_id, amount, invoice in uses:
            assert payment_id is not None, "settlements and money of payments name them"
            is_void = invoice.invoice_status is InvoiceStatus.VOIDED
            kept = amount if is_void else min(amount, EXACT.subtract(invoice.amount_paid, invoice.refunded_amount))
            part = min(left[payment_id], max(EXACT.subtract(kept, found[invoice.id]), ZERO))
            found[invoice.id] = EXACT.add(found[invoice.id], part)
            left[payment_id] = EXACT.subtract(left[payment_id], part)
    return dict(found)
