"""Disputes: a payer's bank takes money back, at first until somebody decides, and for good where it is lost.

Rule: docs/rules/integrations.md#disputes
"""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import EXACT, ZERO, plain
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.providers.interface import Dispute, DisputeState
from farthing.payments.refunds.events import record_refund_event
from farthing.payments.refunds.records import dispute_key, mark_succeeded, new_dispute_refund
from farthing.payments.refunds.sent_back import record_money_sent_back
from farthing.payments.refunds.tables import RefundReason
from farthing.payments.refunds.unapplied import withdraw_unasked
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import insert_if_new

log = structlog.get_logger(__name__)


async def record_dispute(
    session: AsyncSession, invoice: Invoice | None, payment: Payment, dispute: Dispute, now: datetime
) -> None:
    """Note a dispute on its locked payment; the money of one that is lost has gone back.

    Its end is final: what is heard of it later, about how it began, changes nothing. What is disputed in another
    currency than that of the payment is no amount of it, and only told.
    """
    if dispute.currency != payment.currency:
        log.error("payment.disputed_in_another_currency", payment_id=payment.id, currency=dispute.currency)
        payment.error_message = (
            f"the provider reports a dispute in {dispute.currency} of a payment in {payment.currency}"
        )
        await record_payment_event(session, "payment.updated", payment, invoice)
        return
    known = payment.gateway_metadata
    is_known = known.get("dispute_id") == dispute.dispute_id
    if is_known and (known.get("dispute_state") != DisputeState.OPEN or known.get("dispute_status") == dispute.status):
        return
    log.warning("payment.disputed", payment_id=payment.id, status=dispute.status, reason=dispute.reason)
    payment.gateway_metadata = {
        **known,
        "dispute_id": dispute.dispute_id,
        "dispute_state": dispute.state.value,
        "dispute_status": dispute.status,
        "dispute_reason": dispute.reason,
        "dispute_amount": plain(dispute.amount),
    }
    if dispute.state is DisputeState.LOST:
        await _give_up_money(session, invoice, payment, dispute, now)
    await record_payment_event(session, "payment.updated", payment, invoice)


async def _give_up_money(
    session: AsyncSession, invoice: Invoice | None, payment: Payment, dispute: Dispute, now: datetime
) -> None:
    """Record what the bank has taken, as far as it had not gone back already."""
    amount = min(dispute.amount, EXACT.subtract(payment.amount, payment.refunded_amount))
    if amount <= ZERO:
        return
    customer_id = payment.destination_id if invoice is None else invoice.customer_id
    refund = new_dispute_refund(payment, customer_id, amount, now)
    refund.invoice_id = None if invoice is None else invoice.id
    refund.reference = dispute.dispute_id
    refund.refund_reason = RefundReason.FRAUDULENT if dispute.is_fraud else RefundReason.OTHER
    refund.idempotency_key = dispute_key(payment.id, dispute.dispute_id)
    if not await insert_if_new(session, refund):
        return
    await record_refund_event(session, "refund.created", refund)
    await mark_succeeded(session, refund, now)
    await record_money_sent_back(session, invoice, payment, EXACT.add(payment.refunded_amount, amount), now)
    await withdraw_unasked(session, payment)
